"""Running a model and recording what its layers see: inputs A and output gradients D."""
