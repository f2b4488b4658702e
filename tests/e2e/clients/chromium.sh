#!/bin/sh
# usage: chromium.sh URL PROFILE   Prints the page as it stands after its scripts have run.
# Chromium trusts what is in the NSS database of its home folder. Its own calls home are kept off the proxy.
set -eu
mkdir -p "$2/.pki/nssdb"
certutil -d "sql:$2/.pki/nssdb" -N --empty-password
certutil -d "sql:$2/.pki/nssdb" -A -t C,, -n ringtape -i "$RINGTAPE_CA"
HOME=$2 exec chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
    --disable-component-update --disable-sync --disable-extensions --disable-default-apps --disable-dev-shm-usage \
    --proxy-server="$RINGTAPE_PROXY" --proxy-bypass-list='<-loopback>;*.google.com;*.googleapis.com;*.gstatic.com' \
    --user-data-dir="$2/profile" --virtual-time-budget=10000 --dump-dom "$1" 2>/dev/null
