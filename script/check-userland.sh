#!/bin/bash
# Real programs of Debian in a guest, each compared with the same program run on this processor: Python's own tests of numbers, OpenSSL, 7-Zip, a video
# decoder, and the C library's mathematics.  Ends with "N passed, N failed".
#
#     script/check-userland.sh [NAME...]        NAME: python openssl 7z video libm (default: all)
#
# The user space is made of Debian packages (script/make-userland.sh); natively the programs run in it by chroot, so this needs root.  COUNT=n: random
# arguments for each function of libm (1000000).  VERBOSE=1: print what the programs said.  RHEA="rhea run options": what else to give rhea, for instance "-cpu max,-avx2".
set -uo pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build}
root=$build/userland/isa
names=${*:-python openssl 7z video libm}
[ "$(id -u)" = 0 ] || { echo "check-userland: needs root, for chroot" >&2; exit 1; }
script/make-userland.sh "$root" bash coreutils python3 libpython3.11-testsuite openssl 7zip ffmpeg busybox-static grep sed || exit 1

work=$(mktemp -d)
trap 'rm -rf "$work" "$root/check"' EXIT
mkdir -p "$work/check"
cc -O2 -fno-builtin -o "$work/check/libm" test/userland/libm.c -lm || exit 1
cat >"$work/check/run" <<'RUN'
#!/bin/bash
# /check/run NAME COUNT: what it prints must not depend on the machine or the time.
cd /check
export HOME=/root LC_ALL=C
case $1 in
python) python3 -m test test_math test_cmath test_decimal test_struct test_float test_fractions test_int 2>&1 | grep -E '^(Result|test_.* failed)|tests? (OK|failed)|^All ' | sed 's/ in [0-9].*//' ;;
openssl)
    seq 1 200000 >text
    for d in sha1 sha256 sha512 sha3-256 blake2b512 md5; do echo $d $(openssl dgst -$d -r text); done
    for c in aes-128-cbc aes-256-ctr chacha20 camellia-128-cbc aria-128-ctr; do
        echo $c $(openssl enc -$c -K 000102030405060708090a0b0c0d0e0f -iv 000102030405060708090a0b0c0d0e0f -in text 2>/dev/null | openssl dgst -sha256 -r)
    done
    printf abc | openssl dgst -sha256 -r # FIPS 180-4: ba7816bf 8f01cfea 414140de 5dae2223 b00361a3 96177a9c b410ff61 f20015ad
    for k in rsa:2048 rsa:3072; do
        openssl req -x509 -newkey $k -nodes -keyout key -out cert -subj /CN=x -days 9 2>/dev/null
        openssl dgst -sha256 -sign key -out sig text && openssl x509 -in cert -pubkey -noout >pub && openssl dgst -sha256 -verify pub -signature sig text
    done
    for c in prime256v1 secp384r1 secp521r1; do
        openssl ecparam -name $c -genkey -noout -out ec && openssl ec -in ec -pubout -out ecpub 2>/dev/null && openssl dgst -sha256 -sign ec -out sig text && openssl dgst -sha256 -verify ecpub -signature sig text
    done
    openssl genpkey -algorithm ed25519 -out ed && openssl pkey -in ed -pubout -out edpub && openssl pkeyutl -sign -rawin -inkey ed -in text -out sig && openssl pkeyutl -verify -rawin -pubin -inkey edpub -in text -sigfile sig
    for s in aes-128-gcm chacha20-poly1305 sha256; do openssl speed -seconds 1 -bytes 8192 -evp $s >/dev/null 2>&1; echo speed $s $?; done
    openssl speed -seconds 1 rsa2048 >/dev/null 2>&1; echo speed rsa $?
    ;;
7z) 7zz b 1 -mmt1 -md20 >log 2>&1; echo 7z b $?; grep -ciE 'error|crc' log ;;
video) ffmpeg -nostdin -loglevel error -threads 1 -i video.mp4 -map 0:v -f framemd5 - | grep -v '^#' | md5sum ;;
libm) ./libm $2 ;;
esac
echo "end of $1"
RUN
chmod +x "$work/check/run"
cat >"$work/init" <<'INIT'
#!/bin/bash
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
for name in $(sed 's/.*check=\([^ ]*\).*/\1/; s/,/ /g' /proc/cmdline); do
    echo "begin $name"
    /check/run $name $(sed 's/.*count=\([0-9]*\).*/\1/' /proc/cmdline) </dev/null 2>&1
done
busybox poweroff -f
INIT
chmod +x "$work/init"

rm -rf "$root/check"
cp -r "$work/check" "$root/check"
[ -c "$root/dev/null" ] || { mkdir -p "$root/dev"; mknod -m 666 "$root/dev/null" c 1 3; mknod -m 666 "$root/dev/urandom" c 1 9; }
if [[ $names == *video* ]]; then
    chroot "$root" ffmpeg -nostdin -loglevel error -f lavfi -i mandelbrot=size=320x240:rate=25 -t 2 -c:v libx264 -pix_fmt yuv420p -y /check/video.mp4 || exit 1
    cp "$root/check/video.mp4" "$work/check/"
fi
for name in $names; do
    chroot "$root" /check/run "$name" "${COUNT:-1000000}" </dev/null >"$work/$name.native" 2>&1
done
(cd "$work" && find init check | cpio -o -H newc -R 0:0 --quiet) >"$work/check.cpio"
cat "$root.cpio" "$work/check.cpio" >"$work/initrd"
make -s kernels || exit 1
# shellcheck disable=SC2086
timeout "${TIMEOUT:-1800}" "$build/rhea" run -m 4G -nographic -no-reboot -kernel "$build/kernels/linux-image-cloud-amd64/vmlinuz" -initrd "$work/initrd" \
    -append "console=ttyS0 quiet panic=-1 check=${names// /,} count=${COUNT:-1000000}" ${RHEA:-} </dev/null 2>&1 | tr -d '\r' >"$work/guest"
passed=0 failed=0
for name in $names; do
    sed -n "/^begin $name\$/,/^end of $name\$/p" "$work/guest" | sed 1d >"$work/$name.guest"
    # Alike is not enough: both may lack a program.
    if ! grep -qE '^(speed|7z b).* [1-9]|not found|No such file' "$work/$name.guest" && cmp -s "$work/$name.native" "$work/$name.guest" && grep -q "^end of $name" "$work/$name.guest"; then
        [ -z "${VERBOSE:-}" ] || cat "$work/$name.guest"
        echo "ok      $name ($(wc -l <"$work/$name.guest") lines alike)"
        passed=$((passed + 1))
    else
        echo "FAILED  $name: natively (<) and in the guest (>)"
        diff "$work/$name.native" "$work/$name.guest" | head -20
        failed=$((failed + 1))
    fi
done
grep -E 'WARNING:|BUG:|Oops|Call Trace|segfault|invalid opcode' "$work/guest" && failed=$((failed + 1))
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
