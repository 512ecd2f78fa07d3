"""Charts of the benchmarks' results, drawn by matplotlib if it is installed."""

from itertools import groupby

OURS, THEIRS = (
    "#0072B2",
    "#B8B8B8",
)  # they differ in brightness too, for readers who can't see the colours
ROW_INCHES = 0.3
WIDTH_INCHES = 9.0


def draw(bars, folder, stem):
    """Draw each chart that has panels among *bars*; return the paths by the chart's name."""
    try:
        import matplotlib as mpl
    except ImportError:
        return {}
    mpl.use("Agg")
    paths = {}
    for chart, panels in groupby(sorted(bars, key=lambda panel: panel.chart), lambda p: p.chart):
        paths[chart] = folder / f"{stem}-{chart}.png"
        _draw(list(panels), paths[chart])
    return paths


def _draw(panels, path):
    from matplotlib import pyplot as plt

    heights = [len(panel.figures) + 3 for panel in panels]
    figure, axes = plt.subplots(
        len(panels),
        figsize=(WIDTH_INCHES, ROW_INCHES * sum(heights)),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
    )
    for axis, panel in zip(axes[:, 0], panels, strict=True):
        _panel(axis, panel)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


def _panel(axis, panel):
    figures = sorted(panel.figures.items(), key=lambda item: item[1], reverse=True)
    names = [name.replace("`", "") for name, _ in figures]
    values = [value for _, value in figures]
    colours = [OURS if name in panel.ours else THEIRS for name, _ in figures]
    drawn = axis.barh(names, values, color=colours, log=True, height=0.72)
    for label, (name, _) in zip(axis.get_yticklabels(), figures, strict=True):
        label.set_fontweight("bold" if name in panel.ours else "normal")
    axis.bar_label(drawn, [_short(value) for value in values], padding=4, fontsize=9)
    axis.set_title(panel.title, loc="left", fontsize=11, fontweight="bold")
    axis.set_xlabel(f"{panel.unit} (logarithmic; less is better)", fontsize=9)
    axis.xaxis.set_major_formatter("{x:,.10g}")
    axis.xaxis.set_minor_formatter("")
    axis.set_xlim(min(values) / 2, max(values) * 2.5)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", alpha=0.25)
    axis.set_axisbelow(True)


def _short(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
