"""Ask for scores of a partner's payments.

python partner_sync.py http://ADDRESS MODEL
"""

import itertools
import json
import sys
import time
import urllib.error
import urllib.request

CALLS_A_SECOND = 3
AGENT = "partner-sync/2.4"


def ask(address: str, payment: dict[str, object]) -> None:
    """Ask about one payment. What comes back is the caller's business."""
    request = urllib.request.Request(
        address,
        data=json.dumps({"instances": [payment]}).encode(),
        headers={"Content-Type": "application/json", "User-Agent": AGENT},
    )
    try:
        with urllib.request.urlopen(request, timeout=1) as answer:
            answer.read()
    except urllib.error.URLError:
        pass


def main() -> None:
    """Ask for good."""
    base, model = sys.argv[1:3]
    address = f"{base}/v1/models/{model}:predict"
    for number in itertools.count():
        ask(
            address,
            {
                "payment": f"PT{number:08d}",
                "customerId": f"PC{number % 400:05d}",
                "merchantId": f"PM{number % 20:03d}",
                "amount": 20 + number % 80,
            },
        )
        time.sleep(1 / CALLS_A_SECOND)


if __name__ == "__main__":
    main()
