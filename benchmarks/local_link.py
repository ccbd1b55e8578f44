"""Local SGD over a slow network: predicted against measured speed-up of H = 2, 4, 8, 16 over H = 1.

    python benchmarks/local_link.py --record

Two processes, pinned to a core each, train a perceptron of 2.7 MB over a loopback that is limited to 800, then to 400
Mbit/s (`limited_link.py`). Nothing of what is predicted goes into the prediction: latency and share of the nominal
bandwidth are fitted to all-reduces of other sizes at 600 Mbit/s, compute is that of one process while the other sleeps,
for each H, so with its share of the outer step. The two processes compete for memory: how much slower a step without
communication is when both compute is printed, and is no part of the prediction. Where two cores are all there are, any
other work shows in it, and with larger networks most (`--widths 1024 1024 --rows 256`): for an idle machine.
"""

import dataclasses
import statistics

import limited_link
from common import arguments, quartiles, report

TARGET = 0.15


def main() -> None:
    parser = arguments(__doc__, repeats=5)
    parser.add_argument("--rates", nargs="+", type=int, default=limited_link.Plan.rates, help="Mbit/s")
    parser.add_argument("--widths", nargs="+", type=int, default=limited_link.Plan.widths, help="of hidden layers")
    parser.add_argument("--rows", type=int, default=limited_link.Plan.rows, help="of a replica's batch")
    options = parser.parse_args()
    plan = limited_link.Plan(
        rates=tuple(options.rates), repeats=options.repeats, widths=tuple(options.widths), rows=options.rows
    )
    reason = limited_link.obstacle()
    if reason:
        raise SystemExit(f"this machine does not allow a limited network: {reason}")
    found = limited_link.measure(plan)
    fitted = limited_link.link(plan, found, plan.fit_rate)
    last = str(plan.periods[-1])
    contention = statistics.median(found["together"]) / statistics.median(found["alone"][last])
    print(f"{found['bytes'] / 1e6:.2f} MB of parameters, {plan.rows} images a replica")
    print(f"fitted at {plan.fit_rate} Mbit/s: {8e-6 * fitted.bandwidth:.0f} Mbit/s a process, ", end="")
    print(f"latency {1e3 * fitted.latency:.2f} ms")
    print(f"a step while the other process computes as well: {contention:.2f} of one alone")
    print(
        "Mbit/s   H   ms a step: predicted  measured   speed-up: predicted  measured [quartiles]   error: median  worst"
    )
    results, errors = [], []
    for row in limited_link.rows(plan, found):
        q = quartiles(row.measured)
        print(f"{row.rate:6}  {row.period:2}  {1e3 * row.predicted_seconds:20.1f}", end="")
        print(f"  {1e3 * statistics.median(row.seconds):8.1f}  {row.predicted:20.2f}", end="")
        print(f"  {q['median']:8.2f} [{q['low']:.2f}, {q['high']:.2f}]", end="")
        print(f"  {100 * statistics.median(row.errors):12.1f} %  {100 * max(row.errors):.1f} %")
        results.append({**row._asdict(), "errors": row.errors})
        errors += row.errors if row.period > 1 else []
    accuracy = {"median": statistics.median(errors), "worst": max(errors), "target": TARGET}
    accuracy["met"] = accuracy["worst"] <= TARGET
    print(f"relative error of the predicted speed-up: median {100 * accuracy['median']:.1f} %, ", end="")
    print(f"worst {100 * accuracy['worst']:.1f} %, target at most {100 * TARGET:.0f} %: ", end="")
    print("met" if accuracy["met"] else "not met")
    measured = {name: found[name] for name in ("bytes", "sweep", "alone", "together")}
    report(
        "local_link",
        dataclasses.asdict(plan),
        {**measured, "link": fitted._asdict(), "contention": contention, "rows": results, "error": accuracy},
        options.record,
    )


if __name__ == "__main__":
    main()
