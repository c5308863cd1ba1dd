#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Does the program load on other kernels, and judge there as it does here? Records what the decision
# table (tests/bpf/test_packets.py) and the tests of the sources (test_sources.py) asked and got on
# this kernel, and replays it in a virtual machine (software emulation, no network, no disk) under
# each kernel given. Prints TAP.
#
#   tests/kernels/run.sh VMLINUZ...
#
# Needs build/progrun, qemu-system-x86_64 and a static busybox; the kernel needs an initramfs, a
# serial line and BPF, nothing as a module: Debian's linux-image-*-cloud-amd64, unpacked by
# "dpkg-deb -x", will do.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
guest=$work/guest

# The libraries that progrun is linked with, at the paths where it looks for them.
fill_guest() {
    mkdir -p "$guest/bin" "$guest/proc" "$guest/sys" "$guest/dev" "$guest/tmp"
    cp "$(command -v busybox)" "$guest/bin/busybox"
    cp "$root/build/progrun" "$guest/bin/progrun"
    ldd "$root/build/progrun" | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p "$guest$(dirname "$library")"
        cp -L "$library" "$guest$library"
    done
    SMTPGATE_TRANSCRIPT=$guest/table "$root/tests/bpf/test_packets.py" >"$work/recording"
    SMTPGATE_TRANSCRIPT=$guest/sources "$root/tests/bpf/test_sources.py" >>"$work/recording"
    cat >"$guest/init" <<'EOF'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
times='s/^seen=[1-9][0-9]*/seen=some/; s/first=[1-9][0-9]* last=[1-9][0-9]*$/first=some last=some/'
replay() { # table|sources linear|frags [argument of progrun]
    sed -n 's/^> //p' "/$1.$2" | progrun $3 stats >/tmp/got 2>/tmp/err
    sed -n 's/^< //p' "/$1.$2" | sed "$times" >/tmp/want
    sed -i "$times" /tmp/got
    grep '^processed' /tmp/err
    if cmp -s /tmp/want /tmp/got; then
        echo "SAME $1 $2 $(wc -l </tmp/want) answers"
    else
        echo "DIFFERENT $1 $2"
        tail -n 5 /tmp/err
        diff /tmp/want /tmp/got | head -n 10 | cut -c 1-200
    fi
}
echo "KERNEL $(uname -r)"
replay table linear
replay sources linear
case $(uname -r) in # multi-buffer came with 5.18
4.* | 5.?.* | 5.1[0-7].*) ;;
*) replay table frags frags && replay sources frags frags ;;
esac
echo "END"
poweroff -f
EOF
    chmod +x "$guest/init"
    (cd "$guest" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$work/initramfs"
}

# Prints what the guest said, without the console's carriage returns.
boot() {
    timeout 300 qemu-system-x86_64 -accel tcg -cpu max -smp 2 -m 1024 -nographic -no-reboot \
        -nodefaults -serial stdio -kernel "$1" -initrd "$work/initramfs" \
        -append "console=ttyS0 quiet panic=-1 rdinit=/init" </dev/null 2>&1 | tr -d '\r'
}

echo "1..$#"
fill_guest
number=0
failed=0
for kernel in "$@"; do
    number=$((number + 1))
    said=$(boot "$kernel" || true)
    name=$(echo "$said" | sed -n 's/^.*KERNEL //p')
    if echo "$said" | grep -q '^SAME table linear [1-9]' &&
        echo "$said" | grep -q '^SAME sources linear [1-9]' && echo "$said" | grep -q '^END' &&
        ! echo "$said" | grep -q '^DIFFERENT'; then
        echo "ok $number - the same verdicts on ${name:-?}"
    else
        echo "not ok $number - the same verdicts on ${name:-$kernel}"
        failed=1
    fi
    echo "$said" | tail -n 20 | tr -cd '[:print:]\n' | sed 's/^/# /'
done
exit $failed
