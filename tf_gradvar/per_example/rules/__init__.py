"""Rules of layers, a family a file: what a call of a layer says about its gradients."""
