"""What Flower looks through: an app that knows the broker, and none of the code that runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import quote

from celery import Celery
from kombu import Queue

password = Path("/run/secrets/monitoring_password").read_text(encoding="utf-8").strip()
if not password:
    password = os.environ["DEFAULT_PASSWORD"]
    sys.stderr.write("the default password opens this Flower: `make env` writes a strong one into .env\n")
# Flower reads its login from here.
os.environ["FLOWER_BASIC_AUTH"] = f"arith:{password}"

app = Celery("arith", broker=f"redis://flower:{quote(password, safe='')}@redis:6379/0")
app.conf.update(
    accept_content=["json"],
    broker_connection_retry_on_startup=True,
    broker_transport_options={"global_keyprefix": "arith."},
    result_backend=None,
    task_queues=[Queue(name) for name in ("train", "extract", "probe")],
)
