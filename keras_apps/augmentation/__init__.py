"""What happens to examples at each visit: crops, flips, mixing inside of a group, label noise.

Every draw depends on the seed of the run and the number of the batch alone, so that a run that was
stopped goes on with the same examples, and so do parallel calls and several replicas.

Keras' own layers serve where a random state is no trouble. Here it is: `RandomFlip`, `RandomCrop`,
`MixUp` and `CutMix` draw from a state that they keep (two readings of a dataset differ, and a seed
for one batch must be a Python integer), `RandomCrop` gives all images of a batch the same crop, and
`MixUp` and `CutMix` (which Keras 3.8 does not have) draw a ratio for each example, where the
Discover paper has one for all examples of a local batch (Appendix 7.3).

tf.data makes the examples, so none of this runs on the JAX backend, but for fixed label noise.

`visits` is what a problem asks for, `pipeline` does it in tf.data; the other files hold one
transformation each, a draw and a pure function of what was drawn.
"""
