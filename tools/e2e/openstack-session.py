"""Runs commands of the `openstack` client in one process: a JSON list of arguments a line in, a JSON object a line out."""
import contextlib
import io
import json
import sys

from openstackclient import shell

answers = sys.stdout
for line in sys.stdin:
    out, err, status = io.StringIO(), io.StringIO(), 1
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = shell.main(json.loads(line)) or 0
        except SystemExit as end:
            status = end.code or 0
        except Exception as error:
            print(repr(error), file=sys.stderr)
    print(json.dumps({'status': status, 'out': out.getvalue(), 'err': err.getvalue()}), file=answers, flush=True)
