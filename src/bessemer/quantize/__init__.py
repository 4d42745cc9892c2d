"""Encodings chosen from calibration data; knows no target.

    spell.py       operators in the words of integer kernels
    histogram.py   streaming statistics of one value, bounded memory
    ranges.py      statistics -> a real range (min-max, moving average, percentile, entropy, mse)
    observe.py     run the float model over the data and gather statistics
    scheme.py      what integers a precision means, and which operators compute in them
    plan.py        which values get encodings, and which of them must share one
    assign.py      ranges -> encodings on values, weights and biases
    stepwise.py    run a graph piece by piece over many samples (what layer-wise algorithms stand on)
    encodings/     number formats: how to choose scales, encode, decode
    algorithms/    what moves scale between layers or chooses integers better than rounding
    layers.py      products with constant weights, and their codes, one layer in memory at a time
    weights.py     schemes that ask little of the data: weights alone, dynamic int8, float8
    stage.py       the whole stage on one screen
"""
