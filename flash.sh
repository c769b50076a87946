#!/bin/bash
# Writes a disk image of Lintel to an SD card, USB stick, eMMC or disk, and verifies it.
#
#   ./flash.sh IMAGE DEVICE     asks before it overwrites
#   --yes                       does not ask (for machines that nobody sits at)
#   --to-file                   DEVICE is a plain file: for tests
#   --list                      the devices that it would write to
#
# It refuses partitions, mounted or used disks, and the disk this system runs from.
set -euo pipefail

die() { echo "flash: $*" >&2; exit 1; }
usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit "$1"; }

# Every reason not to write to a block device, one a line; nothing means it may be written.
objections() {
    local device=$1 line
    local kind
    kind=$(lsblk -dno TYPE "$device" 2>/dev/null) || { echo "lsblk does not know it"; return; }
    case $kind in
    disk | loop) ;;
    part) echo "it is a partition: name the whole disk" ;;
    *) echo "it is a $kind, not a disk" ;;
    esac
    [ "$(lsblk -dno RO "$device" | tr -d ' ')" = 0 ] || echo "it is write-protected"
    # The disk itself and everything on it: partitions, and what is made of them.
    lsblk -nro NAME,TYPE,MOUNTPOINTS "$device" | while read -r name type mounts; do
        [ -z "$mounts" ] || echo "$name is in use: $mounts"
        case $type in crypt | lvm | raid*) echo "$name ($type) is made of it" ;; esac
    done
    while read -r line; do
        line=$(readlink -f "$line")
        if lsblk -nrpo NAME "$device" | grep -qxF "$line"; then echo "$line is swap"; fi
    done < <(tail -n +2 /proc/swaps | awk '{print $1}')
    # Where this system's own files come from, through partitions and device mapper.
    for line in / /usr /boot; do
        local source
        source=$(findmnt -no SOURCE --target "$line" 2>/dev/null | sed 's/\[.*//')
        [ -b "$source" ] || continue
        if lsblk -nrspo NAME "$source" | grep -qxF "$(readlink -f "$device")"; then
            echo "this system runs from it ($line)"
        fi
    done
}

yes='' to_file='' words=()
while [ $# -gt 0 ]; do
    case $1 in
    --yes) yes=1 ;;
    --to-file) to_file=1 ;;
    --list)
        lsblk -dnpo NAME,SIZE,TYPE,MODEL | while read -r name rest; do
            case $name in /dev/loop* | /dev/ram* | /dev/zram*) continue ;; esac
            [ -n "$(objections "$name")" ] || echo "$name $rest"
        done
        exit 0
        ;;
    -h | --help) usage 0 ;;
    -*) die "unknown option $1" ;;
    *) words+=("$1") ;;
    esac
    shift
done
[ ${#words[@]} = 2 ] || usage 2 >&2
image=${words[0]} device=${words[1]}

[ -r "$image" ] || die "cannot read $image"
[ "$(dd if="$image" bs=1 skip=512 count=8 status=none | tr -d '\0')" = "EFI PART" ] ||
    die "$image is not a disk image (it has no GPT): cargo xtask image makes one"
bytes=$(stat -Lc %s "$image")

if [ -n "$to_file" ]; then
    [ ! -b "$device" ] || die "$device is a device, and --to-file says it is a file"
    what="the file $device"
else
    [ -b "$device" ] || die "$device is not a block device (--list shows those that can be written)"
    [ -w "$device" ] || die "no permission to write $device: run it with sudo"
    reasons=$(objections "$device")
    [ -z "$reasons" ] || die "refusing to write to $device:
$reasons"
    room=$(blockdev --getsize64 "$device")
    [ "$room" -ge "$bytes" ] || die "$device is too small: it has $room bytes, the image $bytes"
    what=$(lsblk -dno SIZE,MODEL,SERIAL "$device" | tr -s ' ')
fi

if [ -z "$yes" ]; then
    echo "EVERYTHING on $device will be lost:$what"
    [ -n "$to_file" ] || lsblk -o NAME,SIZE,FSTYPE,LABEL "$device"
    printf 'Type %s to go on: ' "$device"
    read -r answer || answer=''
    [ "$answer" = "$device" ] || die "nothing was written"
fi

# notrunc: a file stands for a disk, which keeps its size.
dd if="$image" of="$device" bs=4M conv=fsync,notrunc status=progress
# Read back from the medium, not from memory.
[ -n "$to_file" ] || blockdev --flushbufs "$device"
cmp -n "$bytes" -- "$image" "$device" || die "$device does not hold what was written: try another card, port or cable"
[ -n "$to_file" ] || blockdev --rereadpt "$device" 2>/dev/null || true
echo "written and verified: $bytes bytes on $device"
