#!/usr/bin/env bash
# Prints the command that starts a real rsyslogd: Debian's, unpacked into a cache outside the tree without being installed, with its
# drivers for TLS (ossl, gtls). Everything else goes to stderr. Idempotent.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$("$here/../debian.sh" rsyslog rsyslog rsyslog-openssl rsyslog-gnutls libestr0 libfastjson4 liblognorm5 libgnutls30 libssl3)
command=${root%/root}/rsyslogd
if [[ ! -x $command ]]; then
  cat > "$command.$$" <<RUN
#!/bin/sh
libraries="\$(echo $root/usr/lib/*-linux-gnu)"
export LD_LIBRARY_PATH="\$libraries"
exec "$root/usr/sbin/rsyslogd" -M "\$libraries/rsyslog" "\$@"
RUN
  chmod +x "$command.$$"
  "$command.$$" -v >&2
  mv "$command.$$" "$command"
fi
echo "$command"
