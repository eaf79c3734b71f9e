#!/bin/bash
# A laptop and COUNT hosts on a network of their own: network.sh STATE COUNT PREFIX KEEP...
# Runs as the first process of its own net, mount, pid and uts namespaces (see ssh_hosts.py), so nothing here reaches the real network
# or the processes of this machine, and everything ends with this process. The laptop is 10.77.0.254, the hosts are 10.77.0.1, .2, ...
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
state=$1 count=$2 prefix=$3
shift 3
. "$here/machine.sh"

hostname laptop
own_folders "$state/laptop" "$@"
ssh-keygen -q -t ed25519 -N '' -f "$state/key"
ip link set lo up
ip link add switch0 type bridge
ip address add 10.77.0.254/24 dev switch0
ip link set switch0 up
for ((i = 1; i <= count; i++)); do
    ip netns add "host$i"
    ip link add "port$i" type veth peer name eth0 netns "host$i"
    ip link set "port$i" master switch0 up
    ip netns exec "host$i" unshare --mount --pid --fork --kill-child --mount-proc --uts \
        "$here/host.sh" "$state/host$i" "host$i" "10.77.0.$i" "$state/key.pub" "$prefix" "$@" > "$state/host$i.log" 2>&1 &
done
touch "$state/laptop.ready"
wait
