"""Ends every active silence of the stack's Alertmanager, as its own page does."""

import json
import urllib.request

from dojo.core.settings import load_settings

base = f"{load_settings().url_of('alertmanager')}/api/v2"
with urllib.request.urlopen(f"{base}/silences", timeout=5) as answer:
    found = json.load(answer)
for one in found:
    if one["status"]["state"] == "active":
        request = urllib.request.Request(f"{base}/silence/{one['id']}", method="DELETE")
        urllib.request.urlopen(request, timeout=5).close()
