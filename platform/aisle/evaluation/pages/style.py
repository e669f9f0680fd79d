"""The page's one style sheet; colours by variable, so that light and dark need no second page."""

STYLE = """
:root { --paper: #fff; --ink: #1c1f24; --soft: #5d6673; --line: #dfe3e8; --band: #f5f7f9;
  --mark: #1f5fbf; --good: #17713a; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15181c; --ink: #e6e9ed; --soft: #9aa4b1; --line: #2d333b; --band: #1d2127;
    --mark: #7fb0ff; --good: #6fd08c; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 32px 24px 80px; max-width: 1120px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 21px; margin: 48px 0 4px; padding-top: 20px;
  border-top: 2px solid var(--ink); } h3 { font-size: 16px; margin: 32px 0 8px; }
p { margin: 4px 0 12px; max-width: 82ch; } .soft, small { color: var(--soft); } small { font-size: 12.5px; }
nav a { margin-right: 14px; } a { color: var(--mark); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 10px; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { font-weight: 600; font-size: 13px; color: var(--soft); border-bottom: 1.5px solid var(--ink); }
tbody tr:last-child td { border-bottom: 1.5px solid var(--ink); }
td small { display: block; line-height: 1.35; }
.up { color: var(--good); } .down { color: var(--bad); }
.best { font-weight: 700; }
.plots { display: flex; flex-wrap: wrap; gap: 28px 40px; margin: 16px 0; align-items: flex-start; }
svg { max-width: 100%; height: auto; overflow: visible; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--soft); }
svg .plot-title { font-size: 13px; font-weight: 600; fill: var(--ink); } svg .value { fill: var(--ink); }
svg .grid { stroke: var(--line); } svg .axis { stroke: var(--soft); }
svg .diagonal { stroke: var(--soft); stroke-dasharray: 4 4; }
svg .bar { stroke: var(--mark); stroke-width: 3; stroke-opacity: .45; stroke-linecap: round; }
svg .dot { fill: var(--mark); } svg .soft { fill-opacity: .6; }
svg .curve { fill: none; stroke: var(--mark); stroke-width: 2; } svg .area { fill: var(--mark); fill-opacity: .55; }
dl.pins { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; font-size: 13.5px; margin: 8px 0 16px; }
dl.pins dt { color: var(--soft); } dl.pins dd { margin: 0; overflow-wrap: anywhere; }
details { border-bottom: 1px solid var(--line); padding: 8px 0; }
summary { cursor: pointer; } summary b { font-weight: 600; margin-right: 10px; }
ol.hits { margin: 8px 0 4px; padding: 0; list-style: none; font-size: 14px; }
ol.hits li { display: grid; grid-template-columns: 3.2em 6.5em 1fr; gap: 8px; padding: 2px 0; }
ol.hits li.gone span:last-child { text-decoration: line-through; color: var(--soft); }
.grade { display: inline-block; min-width: 4.6em; padding: 0 6px; border-radius: 4px; text-align: center;
  background: var(--band); font-size: 12.5px; line-height: 20px; height: 20px; }
.grade.right { color: var(--good); } .grade.wrong { color: var(--bad); }
@media print { details { break-inside: avoid; } }
"""
