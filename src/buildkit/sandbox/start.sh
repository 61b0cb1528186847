#!/bin/sh
# Gives the RUN steps of a buildkitd a network of their own, then becomes that buildkitd.
#
#   start.sh DIR COMMAND…     DIR holds the other scripts and the state of the network
#
# buildkitd itself stays in the host's network, so that it reaches the registries that the host reaches. Everything that
# is started here dies with it, even after SIGKILL (PR_SET_PDEATHSIG); nothing of the host is changed.
set -eu
dir=$1
shift

# Rootless: rootlesskit replaced /var/lib by a copy made of symbolic links, so that libcni may write /var/lib/cni. Without
# rootlesskit this is the host's own /var/lib, where links are the administrator's.
if [ -n "${ROOTLESSKIT_STATE_DIR:-}" ]; then
    if [ -L /var/lib/cni ]; then rm /var/lib/cni; fi
    case $dir in /var/lib/*)
        top=${dir#/var/lib/}
        top=/var/lib/${top%%/*}
        if [ -L "$top" ]; then
            real=$(readlink -f "$top")
            rm "$top"
            mkdir "$top"
            mount --rbind "$real" "$top"
        fi ;;
    esac
fi

rm -rf "$dir/taken" "$dir/ready"
mkdir "$dir/taken"
mkfifo "$dir/ready"
# Before `exec`, what is heard of the router is its answer, not its signal.
trap : TERM
# The router ends when this process ends; `exec` below keeps the process.
setpriv --pdeathsig KILL sh "$dir/router.sh" "$dir" "$$" >"$dir/ready" &
read -r answer <"$dir/ready" || answer=
rm "$dir/ready"
if [ "$answer" != ready ]; then
    echo "slipway: the sandbox network of builds cannot be set up (the reason is above). \`slipway doctor\` names what is" \
        "missing; network = \"host\" under [buildkit] in config.toml runs builds in the host's network instead." >&2
    exit 1
fi
exec "$@"
