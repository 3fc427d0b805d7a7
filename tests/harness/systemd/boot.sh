# Makes DISK the root of the namespaces that unshare has made, and becomes systemd. See ../systemd.rs.
#
# usage: boot.sh DISK HOST
set -eu
cd "$1"
mkdir -p dev old opt proc root sys
mkdir -p -m 1777 tmp
for link in bin lib lib64 sbin; do ln -sfn "usr/$link" "$link"; done
for layer in etc usr var; do
  mkdir -p "$layer" ".changed/$layer" ".work/$layer"
  mount -t overlay -o "lowerdir=/$layer,upperdir=$1/.changed/$layer,workdir=$1/.work/$layer" overlay "$layer"
done
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
cat proc/sys/kernel/random/uuid > .boot_id   # journald tells boots by it
mount --bind .boot_id proc/sys/kernel/random/boot_id
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9

if [ ! -e .booted ]; then
  # What this host starts, mounts and is called is not this machine's.
  rm -rf etc/systemd etc/fstab etc/rc?.d etc/init.d
  mkdir -p etc/systemd/system var/log/journal
  cp --remove-destination /etc/hosts /etc/resolv.conf etc/
  echo "$2" > etc/hostname
  tr -d - < /proc/sys/kernel/random/uuid > etc/machine-id
  for unit in usr/lib/systemd/system/*.wants/*; do
    case ${unit##*/} in
      systemd-journald.service | systemd-journald.socket | systemd-journald-dev-log.socket | systemd-journal-flush.service) ;;
      *) ln -sfn /dev/null "etc/systemd/system/${unit##*/}" ;;
    esac
  done
  touch .booted
fi

pivot_root . old
umount -l old
# The kernel is the host's: container= makes systemd leave it alone, and these capabilities are not needed for less.
exec env -i container=lictor-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  setpriv --bounding-set=-sys_module,-sys_rawio,-sys_time,-syslog,-audit_control \
  /lib/systemd/systemd --unit=multi-user.target --log-target=console --show-status=no
