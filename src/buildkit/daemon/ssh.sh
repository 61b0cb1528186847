#!/bin/sh
# The ssh of buildkitd's git: the host's, without the keys and the known_hosts of the user whom buildkitd runs as.
# slipway writes this file whenever it starts the daemon. Of an option that is given twice, ssh takes the first value.
ssh=@SSH@
if [ -z "$ssh" ]; then
    echo "slipway: the build host has no ssh, which this address needs; install OpenSSH's client and restart the" \
        "builder" >&2
    exit 127
fi
named=
previous=
for argument do
    # Only as the value of an option: addresses are whatever a repository says.
    case $previous$argument in
        -oUserKnownHostsFile=*) named=yes ;;
    esac
    previous=$argument
done
if [ -z "$named" ]; then
    set -- -o UserKnownHostsFile=/dev/null -o GlobalKnownHostsFile=/dev/null "$@"
fi
exec "$ssh" -o IdentityFile=none -o IdentitiesOnly=no -o HostbasedAuthentication=no -o ControlPath=none "$@"
