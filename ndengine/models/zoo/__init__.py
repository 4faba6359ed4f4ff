"""The networks of the benchmark of 2017: definitions of their architectures, and a row for every one of them.

- :mod:`ndengine.models.zoo.rows`: the rows; ``find_row``, ``rows``
- :mod:`ndengine.models.zoo.published`: what was published of each: ``Published``
- :mod:`ndengine.models.zoo.files`: where weights are published, and where they lie in the cache folder
- :mod:`ndengine.models.zoo.build`: a row to a network with its weights

One file an architecture gives its definition: ``alexnet``, ``vgg16``, ``googlenet``, ``resnet152``,
``selfsupervised``.
"""
