"""The read-only web page: what `status`, `results`, `figures`, `report` and `compare` show, in a browser.

Pages are made here and read without a script; a little script keeps those of a running run up to date. Nothing
can be changed: no route writes, and the database is opened so that it would refuse to. FastAPI is loaded by the
command `dashboard` alone.
"""
