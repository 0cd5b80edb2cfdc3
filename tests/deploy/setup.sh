#!/bin/sh
# Makes build/deploy-tools with everything that the tests of deploy/ need: tools from PyPI in an environment of their
# own, docker-compose 2.x from Debian trixie (unpacked, not installed, no engine needed); Prometheus and Alertmanager
# from Debian where apt may install them. A second run has nothing to do. What cannot be had is said, not fatal: its tests say so too.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${DEPLOY_TOOLS:-$here/../../build/deploy-tools}
mkdir -p "$out"
out=$(cd "$out" && pwd)

if [ ! -e "$out/.installed" ] || [ "$here/requirements.txt" -nt "$out/.installed" ]; then
    ${PYTHON:-python3} -m venv "$out"
    "$out/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    touch "$out/.installed"
fi

missing=
for pair in prometheus:prometheus amtool:prometheus-alertmanager; do
    command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
done
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    else
        echo "install yourself:$missing (Debian's packages)" >&2
    fi
fi

if [ ! -x "$out/bin/docker-compose" ]; then
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    mirror=$(sed -n 's/^URIs: *\([^ ]*\/debian\)\/* *$/\1/p; s/^deb .*\(http[^ ]*\/debian\)\/* .*/\1/p' \
        /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null | head -n 1)
    if [ -z "$mirror" ] || [ ! -e "$keys" ]; then
        echo "no Debian mirror and keyring here to get docker-compose from" >&2
        exit 0
    fi
    apt=$(mktemp -d)
    trap 'rm -rf "$apt"' EXIT
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    chmod -R a+rx "$apt"
    echo "deb [signed-by=$keys] $mirror trixie main" >"$apt/sources.list"
    set -- -qq -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=- \
        -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root
    (cd "$apt" && apt-get "$@" update && apt-get "$@" download docker-compose && dpkg-deb -x docker-compose_*.deb unpacked)
    cp "$(find "$apt/unpacked" -name docker-compose -type f -perm -u+x | head -n 1)" "$out/bin/docker-compose"
fi
