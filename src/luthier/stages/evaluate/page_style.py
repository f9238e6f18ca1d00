"""The page's style: one column on a phone, two on a desk, both themes by the reader's own setting."""

from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1d2329; --soft: #5b6670; --line: #d7dce1; --back: #ffffff; --panel: #f5f7f8;
  --mark: #0b6e8a; --second: #b0541e; --pass: #1b7f4b; --fail: #b3261e; --open: #8a6100; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaed; --soft: #9aa7b1; --line: #36404a; --back: #14191d;
  --panel: #1c2328; --mark: #5cc4e0; --second: #f0a070; --pass: #62cf93; --fail: #ff8a80; --open: #e5be5a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 4rem; background: var(--back); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .5rem; } p { margin: .25rem 0; } .soft { color: var(--soft); }
.verdict { font-weight: 700; } .PASS { color: var(--pass); } .FAIL { color: var(--fail); }
.INCONCLUSIVE { color: var(--open); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; } td.number, th.number { text-align: right;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
td:last-child:not(.number) { min-width: 15rem; }
.grid table { font-size: .8rem; } .grid th, .grid td { padding: .3rem .35rem; }
.grid { display: grid; gap: 0 2rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); }
svg { width: 100%; height: auto; max-width: 48rem; display: block; } svg text { font-size: 13px; fill: var(--ink); }
svg .end { text-anchor: end; } svg .axis { stroke: var(--line); stroke-width: 2; }
svg .bar { stroke: var(--mark); stroke-width: 5; stroke-linecap: round; opacity: .45; } svg .dot { fill: var(--mark); }
svg .curve { fill: none; stroke-width: 2; } svg .curve.c0 { stroke: var(--mark); }
svg .curve.c1 { stroke: var(--second); } svg circle.c0, svg text.c0 { fill: var(--mark); }
svg circle.c1, svg text.c1 { fill: var(--second); }
.answers { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: .75rem 1rem;
  margin: .75rem 0; } .answers dl { display: grid; grid-template-columns: minmax(4.5rem, auto) 1fr; gap: .25rem .75rem;
  margin: .5rem 0 0; } .answers dt { color: var(--soft); } .answers dd { margin: 0; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; } summary { cursor: pointer; }
"""
