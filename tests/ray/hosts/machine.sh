# Sourced by network.sh and host.sh: gives this mount namespace folders of its own, so that several "machines" share one disk.
#   own_folders STATE KEEP...   own /tmp, /run, home of root and host name table under STATE; KEEP paths below /tmp stay reachable
own_folders() {
    local state=$1 path
    shift
    mkdir -p "$state/home/.ssh" "$state/tmp"
    chmod 700 "$state/home" "$state/home/.ssh"
    chmod 1777 "$state/tmp"
    for path in "$@"; do
        case $path in
        /tmp/*)
            mkdir -p "$state$path"
            mount --rbind "$path" "$state$path"
            ;;
        esac
    done
    mount --rbind "$state/tmp" /tmp
    mount -t tmpfs tmpfs /run
    sed "s#^root:.*#root:x:0:0:root:$state/home:/bin/bash#" /etc/passwd > "$state/passwd"
    sed "s#^root:[^:]*#root:*#" /etc/shadow > "$state/shadow"
    printf '127.0.0.1 localhost\n127.0.0.1 %s\n' "$(hostname)" > "$state/etc_hosts"
    mount --bind "$state/passwd" /etc/passwd
    mount --bind "$state/shadow" /etc/shadow
    mount --bind "$state/etc_hosts" /etc/hosts
}
