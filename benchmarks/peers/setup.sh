#!/bin/sh
# Make the environments that the peers run in: setup.sh TARGET
#
# One folder per environment, each with a bin/python; one that is there is left as it is. Linux on
# x86-64; needs python3, python3-venv and, for TACHIOM, debootstrap and root: its wheel wants a
# newer C library than many systems have, so it runs on Debian trixie's, side by side with ours.
# Packages come from where pip and apt are set up to get them.
set -eu

target=$(mkdir -p "$1" && cd "$1" && pwd)

environment() { # NAME PACKAGE...
    name=$1
    shift
    if [ -e "$target/$name/ready" ]; then
        return
    fi
    echo "$name: $*" >&2
    rm -rf "${target:?}/$name"
    python3 -m venv "$target/$name" &&
        "$target/$name/bin/python" -m pip install --quiet "$@" &&
        touch "$target/$name/ready"
}

tachiom() {
    here=$target/tachiom
    root=$here/root
    if [ -e "$here/ready" ]; then
        return
    fi
    echo "tachiom: Debian trixie" >&2
    rm -rf "$here"
    mkdir -p "$here/bin"
    debootstrap --variant=minbase --include=python3 trixie "$root" >"$here/debootstrap.log" || return
    # The wheels are for the Python and the C library in there, not for those that run pip.
    python3 -m pip install --quiet --target "$here/packages" --only-binary=:all: \
        --python-version 3.13 --implementation cp --abi cp313 --platform manylinux_2_39_x86_64 \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
        --platform manylinux2014_x86_64 tachiom==0.4.0 numpy || return
    cat >"$here/bin/python" <<WRAPPER
#!/bin/sh
libraries=$root/usr/lib/x86_64-linux-gnu
export PYTHONHOME=$root/usr PYTHONPATH=$here/packages
exec "\$libraries/ld-linux-x86-64.so.2" --library-path "\$libraries" $root/usr/bin/python3.13 "\$@"
WRAPPER
    chmod +x "$here/bin/python"
    "$here/bin/python" -c "import tachiom" && touch "$here/ready"
}

failed=""
(tachiom) || failed="$failed tachiom"
environment fast-plaid fast-plaid==1.7.0.2110 || failed="$failed fast-plaid"
environment qdrant numpy qdrant-edge-py==0.9.0 || failed="$failed qdrant"
environment kernels numpy numkong==7.8.6 maxsim-cpu==0.1.0 torch==2.13.0 || failed="$failed kernels"
if [ -n "$failed" ]; then
    echo "not installed:$failed" >&2
    exit 1
fi
