#!/bin/bash
# One host that can be reached by SSH: host.sh STATE NAME ADDRESS PUBLIC_KEY PREFIX KEEP...
# PREFIX is the Python environment of the tests; the host sees a writable copy of it, what is installed here stays here.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
state=$1 name=$2 address=$3 public_key=$4 prefix=$5
shift 5
. "$here/machine.sh"

hostname "$name"
own_folders "$state" "$@"
mkdir -p "$state/upper" "$state/work" "$state/home/disrupt-app" "$state/home/.config/pip" /run/sshd
mount -t overlay overlay -o "lowerdir=$prefix,upperdir=$state/upper,workdir=$state/work" "$prefix"
ln -sfn "$prefix" "$state/home/disrupt-app/.venv"
printf '[install]\nno-build-isolation = false\nno-index = true\n' > "$state/home/.config/pip/pip.conf"
ip link set lo up
ip address add "$address/24" dev eth0
ip link set eth0 up
ssh-keygen -q -t ed25519 -N '' -f "$state/host_key"
cp "$public_key" "$state/home/.ssh/authorized_keys"
cat > "$state/sshd_config" <<CONFIG
Port 22
ListenAddress $address
HostKey $state/host_key
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
StrictModes no
PidFile none
CONFIG
/usr/sbin/sshd -D -e -f "$state/sshd_config" &
touch "$state.ready"
wait
