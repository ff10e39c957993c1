#!/bin/sh
# Install the programs that the tests start and that are missing here:
#
#     scripts/install_packages.sh redis-server memcached
#
# With brew, or with apt (as root, or through sudo). Says what it installs; silent when all is there.
set -eu

missing() {
    case $1 in
        chromium) ! { command -v chromium || command -v chromium-browser || command -v google-chrome; } ;;
        # Debian keeps the programs of PostgreSQL away from PATH.
        postgres) ! { command -v postgres || ls /usr/lib/postgresql/*/bin/postgres; } ;;
        nginx) ! { command -v nginx || ls /usr/sbin/nginx; } ;;
        pgbouncer) ! { command -v pgbouncer || ls /usr/sbin/pgbouncer; } ;;
        *) ! command -v "$1" ;;
    esac > /dev/null 2>&1
}

apt_package() {
    case $1 in
        postgres) echo postgresql ;;
        promtool) echo prometheus ;;
        systemd-analyze) echo systemd ;;
        *) echo "$1" ;;
    esac
}

brew_package() {
    case $1 in
        redis-server) echo redis ;;
        postgres) echo postgresql ;;
        promtool) echo prometheus ;;
        systemd-analyze) echo systemd ;;
        *) echo "$1" ;;
    esac
}

programs=
for program in "$@"; do
    if missing "$program"; then programs="$programs $program"; fi
done
if [ -z "$programs" ]; then exit 0; fi

packages=
if command -v brew > /dev/null; then
    for program in $programs; do packages="$packages $(brew_package "$program")"; done
    echo "Missing here:$programs. Installing with brew:$packages"
    brew install $packages
elif command -v apt-get > /dev/null; then
    for program in $programs; do packages="$packages $(apt_package "$program")"; done
    sudo=
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo > /dev/null; then
            echo "Missing here:$programs. Install as root: apt-get install$packages" >&2
            exit 1
        fi
        sudo=sudo
    fi
    echo "Missing here:$programs. Installing with ${sudo:+sudo }apt-get:$packages"
    export DEBIAN_FRONTEND=noninteractive
    install="$sudo apt-get install -q -y --no-install-recommends"
    # The first attempt works where the package lists are fresh.
    $install $packages || { $sudo apt-get update -q && $install $packages; }
else
    echo "Missing here:$programs. There is neither brew nor apt: install them yourself" >&2
    exit 1
fi
