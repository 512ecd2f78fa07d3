"""The cost of importing each library, in fresh interpreters, beside ``import requests``."""

from bench_import import FIRST_PROVIDER, LABELS, fresh_import
from measure import Rounds
from peers import BLOCKING, absent, installed
from report import Section, Table, ahead, short

REQUESTS = "import requests"
WARM_UP = 2

REASON = "it does without requests, or loads less beside it than the modules of a keeper"


def run(quick):
    fleet = installed(BLOCKING)
    statements = [REQUESTS, "import tokenkeeper", *(peer.statement for peer in fleet)]
    statements.insert(3, FIRST_PROVIDER)
    for statement in statements * WARM_UP:  # so that the machine has the files in its cache
        fresh_import(statement)
    contenders = {each: lambda each=each: fresh_import(each)[0] for each in statements}
    times = Rounds(contenders, 3 if quick else 15)
    table = Table(("statement", "best", "median", "x requests, best", "median"))
    medians = {each: times.median(each) for each in statements}
    for each in sorted(statements, key=medians.get):
        table.add(
            LABELS.get(each, f"`{each}`"),
            short(times.best(each)),
            short(medians[each]),
            f"{times.best_ratio(each, REQUESTS):.2f}",
            f"{times.median_ratio(each, REQUESTS):.2f}",
        )
    by_name = {peer.name: medians[peer.statement] for peer in fleet}
    by_name[fleet[0].name] = medians[FIRST_PROVIDER]  # the import alone does not load requests yet
    says = (
        "Each in a fresh interpreter, in turn, with the statement that a service needs for what "
        "the other tables measure. `import tokenkeeper` alone loads no other library."
        + ahead("median import", by_name, fleet[0].name, REASON)
        + absent()
    )
    return Section("Peers: import", says, [table])
