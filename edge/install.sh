#!/bin/sh
# Installs this folder as a service that listens to the microphone. See --help.
set -eu

usage() {
    cat <<'TEXT'
usage: sudo sh edge/install.sh [--python PYTHON] [-- OPTIONS of run.py]
       sudo sh edge/install.sh --uninstall

Makes the user "ser", puts the program into /opt/ser with an environment of its
own, and starts the service "ser", now and at every boot. Run it again to update
or to change OPTIONS; they stand in /etc/default/ser.

  --python PYTHON  interpreter, 3.10 to 3.13 (default: python3)
  --uninstall      remove the service, the user and /opt/ser
  --root DIR       install below DIR instead of /, without user and service
                   (for tests and images)

  sudo sh edge/install.sh -- --on-change
  sudo sh edge/install.sh -- --on-change --mqtt homeassistant.local
TEXT
}

fail() {
    echo "install.sh: $1" >&2
    exit "${2:-1}"
}

python=python3
root=
uninstall=
options=
options_given=
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --python | --root)
            [ $# -gt 1 ] || fail "$1 needs a value; see --help" 2
            case $1 in --python) python=$2 ;; *) root=${2%/} ;; esac
            shift 2 ;;
        --uninstall) uninstall=yes; shift ;;
        --) shift; options=$*; options_given=yes; break ;;
        *) fail "$1: no such option; see --help" 2 ;;
    esac
done

here=$(cd "$(dirname "$0")" && pwd)
target=$root/opt/ser
settings=$root/etc/default/ser
unit=$root/etc/systemd/system/ser.service
[ -n "$root" ] || [ "$(id -u)" -eq 0 ] || fail "must run as root; put sudo before it"

# Whether there is a systemd that runs services here, and not below --root.
serves() { [ -z "$root" ] && [ -d /run/systemd/system ]; }

as_ser() {
    if [ -n "$root" ]; then "$@"; else runuser -u ser -- "$@"; fi
}

if [ -n "$uninstall" ]; then
    if serves; then systemctl disable --now ser.service 2>/dev/null || true; fi
    rm -rf "$unit" "$settings" "$target"
    if serves; then systemctl daemon-reload; fi
    if [ -z "$root" ] && id ser >/dev/null 2>&1; then userdel ser; fi
    echo "removed"
    exit 0
fi

case $(uname -m) in
    x86_64 | aarch64) ;;
    *) fail "$(uname -m): there are no packages for it; a 64-bit system is needed" ;;
esac
model=$here/ser.tflite
[ -f "$model" ] || model=$here/../export/ser.tflite
[ -f "$model" ] || fail "ser.tflite: is not beside install.sh; copy a model there"
if [ -z "$root" ] && command -v apt-get >/dev/null; then
    missing=
    for package in libportaudio2 python3-venv; do
        case $(dpkg-query -W -f '${Status}' $package 2>/dev/null) in
            *" installed") ;;
            *) missing="$missing $package" ;;
        esac
    done
    # shellcheck disable=SC2086  # a list
    [ -z "$missing" ] || apt-get install -y --no-install-recommends $missing ||
        fail "apt-get cannot install$missing; try: sudo apt-get update"
fi
"$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' \
    2>/dev/null || fail "$python: is missing, has no venv, or is not Python 3.10 to 3.13"

if [ -z "$root" ] && ! id ser >/dev/null 2>&1; then
    useradd --system --user-group --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin ser
fi

# Beside the one in use until it has answered
next=$target.next
rm -rf "$next"
mkdir -p "$next" "$(dirname "$settings")" "$(dirname "$unit")"
trap 'rm -rf "$next"' EXIT
cp "$here"/*.py "$here"/README.md "$here"/requirements*.txt "$here"/install.sh \
    "$here"/ser.service "$next"
cp "$model" "$next/ser.tflite"
"$python" -m venv "$next/venv"
"$next/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    -r "$next/requirements-live.txt" ||
    fail "pip cannot install what requirements-live.txt names; nothing was changed"
chmod -R go=rX "$next"
heard=$(head -c 64000 /dev/zero | as_ser "$next/venv/bin/python" "$next/run.py" - --on-change) ||
    fail "the program does not run for the user ser with $python; nothing was changed"
case $heard in
    *silence) ;;
    *) fail "the program calls silence '$heard'; nothing was changed" ;;
esac

if serves; then systemctl stop ser.service 2>/dev/null || true; fi
rm -rf "$target"
mv "$next" "$target"
"$target/venv/bin/python" -m compileall -q "$target"/*.py
if [ -n "$options_given" ] || [ ! -f "$settings" ]; then
    password=$(grep '^SER_MQTT_PASSWORD=' "$settings" 2>/dev/null || echo "SER_MQTT_PASSWORD=")
    (
        umask 077
        printf '%s\n' "# Options of run.py --mic, and the password of the MQTT broker, if any" \
            "SER_OPTIONS=${options:---on-change}" "$password" >"$settings.next"
    )
    mv "$settings.next" "$settings"
fi
cp "$target/ser.service" "$unit"

if serves; then
    systemctl daemon-reload
    systemctl enable --quiet ser.service
    systemctl restart ser.service
    sleep 5
    systemctl is-active --quiet ser.service ||
        fail "installed, but it does not run yet: $(journalctl -u ser -n 1 -o cat)"
    echo "listening; what it hears: journalctl -fu ser"
else
    echo "installed in $target; no service was started, for systemd does not run here"
fi
