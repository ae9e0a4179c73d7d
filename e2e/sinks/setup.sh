#!/usr/bin/env bash
# Prints the command that starts a real rsyslogd: Debian's, unpacked into a cache outside the tree without being installed, with its
# drivers for TLS (ossl, gtls). Everything else goes to stderr. Idempotent.
set -euo pipefail

dir=${VIDIMUS_CACHE:-$HOME/.cache/vidimus}/rsyslog-debian
if [[ ! -e $dir/stamp ]]; then
  command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
    { echo "e2e/sinks/setup.sh: there is no apt-get to fetch rsyslog with" >&2; exit 1; }
  mkdir -p "$dir"
  exec 9>"$dir/lock"
  if command -v flock >/dev/null; then flock 9; fi # two at once: the second waits, then finds the work done
  if [[ ! -e $dir/stamp ]]; then
    echo "e2e/sinks/setup.sh: fetching Debian's rsyslog into $dir, once" >&2
    rm -rf "$dir/debs" "$dir/root"
    mkdir -p "$dir/debs" "$dir/root"
    packages="rsyslog rsyslog-openssl rsyslog-gnutls libestr0 libfastjson4 liblognorm5 libgnutls30 libssl3"
    # Without lists of packages nothing is found; a fresh machine may have none.
    (cd "$dir/debs" && { apt-get download $packages || { apt-get update && apt-get download $packages; }; }) >&2
    for deb in "$dir"/debs/*.deb; do dpkg -x "$deb" "$dir/root"; done
    cat > "$dir/rsyslogd" <<RUN
#!/bin/sh
libraries="\$(echo $dir/root/usr/lib/*-linux-gnu)"
export LD_LIBRARY_PATH="\$libraries"
exec "$dir/root/usr/sbin/rsyslogd" -M "\$libraries/rsyslog" "\$@"
RUN
    chmod +x "$dir/rsyslogd"
    "$dir/rsyslogd" -v >&2
    touch "$dir/stamp"
  fi
fi
echo "$dir/rsyslogd"
