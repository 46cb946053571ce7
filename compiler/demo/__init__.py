"""Two small digit classifiers, trained ahead of time, and the images they are judged on."""
