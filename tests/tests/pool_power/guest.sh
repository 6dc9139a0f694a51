# SPDX-License-Identifier: MIT OR Apache-2.0
# What a machine of these tests does, in functions. Before it the script sets, in bytes: METADATA,
# where the metadata end and the data begin on the disk, END, where these end, LENGTH, how much is in
# a file, and SLOT, how far apart the slots of a disk are.

# There is no udev: dmsetup makes the nodes.
export DM_DISABLE_UDEV=1 MOSAIC_CONFIG_DIR=/tmp
cat >/tmp/power.mos <<CONFIG
type: dmthin
location: power
default_fs: ext4
metadata_size: 16M
discard_on_drop: true
pool:
  data: /dev/mapper/disk-data
  metadata: /dev/mapper/disk-metadata
CONFIG

# Both devices of the pool are on the one disk, as two partitions would be.
linear() {
    echo "0 $(($2 / 512)) linear /dev/vm/disk $(($1 / 512))"
}
dmsetup create disk-metadata --table "$(linear 0 "$METADATA")"
dmsetup create disk-data --table "$(linear "$METADATA" $((END - METADATA)))"

# A step is done. With `marks` that is noted on the disk, past the pool, too.
marks=
done_with() {
    if [ -n "$marks" ]; then
        printf '%-512s' "$1" |
            dd of=/dev/vm/disk bs=512 seek=$((END / 512)) \
                iflag=fullblock oflag=direct conv=notrunc status=none
    fi
    echo "done $1"
}

m() {
    moctl power "$@" >/dev/null
}

content() {
    yes "$1" | head -c "$LENGTH"
}

write_file() {
    content "$2" | dd of="/mnt/$1" bs=64k iflag=fullblock conv=notrunc status=none
}

device() {
    moctl power attach "$1" | sed -n 's/^Device: //p'
}

write_disk() {
    device=$(device "$1")
    content "$3" |
        dd of="$device" bs=64k seek=$(($2 * SLOT / 65536)) iflag=fullblock conv=fsync status=none
    m detach "$1"
}

deactivate() {
    for thin in $(dmsetup info -c --noheadings -o name | grep '^power-'); do
        dmsetup remove --retry "$thin"
    done
    # Nothing may have used it since it went.
    if dmsetup status power >/dev/null 2>&1; then
        dmsetup remove --retry power
    fi
}

# The look at a pool. What is wrong with it ends the job.

tell() {
    word=$(head -n 1 "$3" | tr -d '\0')
    if content "$word" | cmp -s - "$3"; then
        echo "file $1 $2 $word"
    else
        echo "file $1 $2"
    fi
}

look_at_fs() {
    device=$(device "$1")
    # The journal of one that was mounted is replayed; all others are clean as they are.
    case " $mounted " in
    *" $1 "*)
        mount "$device" /mnt
        umount /mnt
        ;;
    esac
    if ! e2fsck -fn "$device" >/tmp/fsck 2>&1; then
        cat /tmp/fsck >&2
        return 1
    fi
    dumpe2fs -h "$device" 2>/dev/null | awk -v name="$1" '
        /^Block count/ { count = $3 }
        /^Block size/ { size = $3 }
        END { print "fs", name, count * size }'
    mount "$device" /mnt
    for file in /mnt/f*; do
        [ ! -e "$file" ] || tell "$1" "${file#/mnt/}" "$file"
    done
    umount /mnt
    m detach "$1"
}

look_at_disk() {
    device=$(device "$1")
    for slot in 0 1 2; do
        dd if="$device" bs=64k skip=$((slot * SLOT / 65536)) count=$((LENGTH / 65536)) \
            of=/tmp/slot status=none
        cmp -s -n "$LENGTH" /tmp/slot /dev/zero || tell "$1" "$slot" /tmp/slot
    done
    m detach "$1"
}

look() {
    dmsetup info -c --noheadings --separator ' ' -o name,suspended | sed 's/^/device /'
    list=$(moctl --json power list)
    echo "list $list"
    for volume in $(echo "$list" | grep -o '"name":"[^"]*","stored":"[^"]*","kind":"[^"]*"' |
        sed 's/"name":"//; s/",.*:"/=/; s/"$//'); do
        case $volume in
        "$probe"=*) ;;
        *=fs) look_at_fs "${volume%=*}" ;;
        *=disk) look_at_disk "${volume%=*}" ;;
        esac
    done
    echo looked
}
