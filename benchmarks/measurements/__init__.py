"""What is measured, a module each.

Such a module has a TITLE, a REMARK that says how it is measured, `measure(scale)`, which gives figures, and
`goals(figures)`, which holds them against what ire-otel means to keep; where a picture helps, CHARTS.
"""
