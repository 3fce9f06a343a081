"""The style of the pages, in light, in dark and on paper."""

from __future__ import annotations

__all__ = ["STYLE"]

# Contrast of text against its background is at least 4.5 in both schemes (WCAG 2.1, 1.4.3), and of
# the bars at least 3 (1.4.11).
STYLE = """
:root { color-scheme: light dark; --back: #fff; --card: #f6f7f9; --text: #1a1d21; --dim: #59616b;
  --line: #c9ced6; --good: #1a7f4b; --old: #b25e00; --bad: #c62828; --unknown: #6b7280;
  --c1: #2563a8; --c2: #1a7f4b; --c3: #8a4fb5; --c4: #b25e00; --c5: #0e7c86; --c6: #6b7280; }
@media (prefers-color-scheme: dark) { :root { --back: #14171a; --card: #1d2125; --text: #e7e9ec;
  --dim: #a5adb7; --line: #3c434b; --good: #4cc38a; --old: #f0a33c; --bad: #ff7b72;
  --unknown: #9aa3ae; --c1: #6aa9f0; --c2: #4cc38a; --c3: #c39bea; --c4: #f0a33c; --c5: #4fc3cf;
  --c6: #9aa3ae; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem; background: var(--back);
  color: var(--text); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.25rem; margin: 2.25rem 0 .5rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .5rem; }
p { margin: .4rem 0; } .dim, footer { color: var(--dim); }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: 1rem 0; }
dl.facts dt { color: var(--dim); } dl.facts dd { margin: 0; overflow-wrap: anywhere; }
ul.tiles { display: flex; flex-wrap: wrap; gap: .75rem; padding: 0; margin: 1rem 0;
  list-style: none; }
ul.tiles li { background: var(--card); border: 1px solid var(--line); border-radius: .4rem;
  padding: .5rem .9rem; min-width: 8rem; }
ul.tiles b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
ul.tiles .bad b { color: var(--bad); } ul.tiles .old b { color: var(--old); }
.scroll { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
caption { text-align: left; color: var(--dim); padding: .25rem 0; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top; font-weight: 400; }
thead th { font-weight: 600; white-space: nowrap; }
.id { overflow-wrap: anywhere; min-width: 10rem; } time { white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: .75rem 0; } figcaption { color: var(--dim); font-size: .92rem; }
svg { display: block; width: 100%; height: auto; }
figure .scroll svg { min-width: 36rem; } svg text { fill: var(--text);
  font: 12px system-ui, sans-serif; } svg .dim { fill: var(--dim); }
svg .axis { stroke: var(--line); } svg .limit { stroke: var(--bad); stroke-dasharray: 4 3; }
svg .track { fill: var(--card); stroke: var(--line); }
.current, .moved { fill: var(--good); } .stale, .left { fill: var(--old); }
.missing, .failed { fill: var(--bad); } .unknown { fill: var(--unknown); }
.c1 { fill: var(--c1); } .c2 { fill: var(--c2); } .c3 { fill: var(--c3); } .c4 { fill: var(--c4); }
.c5 { fill: var(--c5); } .c6 { fill: var(--c6); }
ul.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; margin: .25rem 0;
  list-style: none; font-size: .92rem; } ul.legend svg { display: inline-block; width: .8em;
  height: .8em; margin-right: .4em; }
article { background: var(--card); border: 1px solid var(--line); border-radius: .4rem;
  padding: .25rem 1rem 1rem; margin: 1rem 0; }
@media print { body { max-width: none; padding: 0; } h2, h3 { break-after: avoid; }
  tr, figure, ul.tiles { break-inside: avoid; } .scroll { overflow: visible; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
@media (max-width: 34rem) { body { padding: .75rem; } dl.facts { grid-template-columns: 1fr; }
  dl.facts dd { margin-bottom: .4rem; } }
"""
