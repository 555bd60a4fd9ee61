"""The named policies: the training augmentation of each seed system, in the policy language.

A policy does not normalise. A seed that erases with value 0 after normalising paints the mean colour, hence the default
`erase(fill=mean)`. Sizes are for 32 x 32 sources; a name may be part of a longer policy text.
"""

POLICIES = {
    # CIFAR-100 baseline CNN.
    "baseline": "crop(pad_px=4), flip()",
    # CIFAR-10 and CIFAR-100 CNN study: random crop, flip, colour jitter (its specification gives no values).
    "cnn": "crop(pad_px=4), flip(), jitter(brightness=.2, contrast=.2, saturation=.2, hue=.05)",
    # CIFAR-10 CNN from scratch.
    "cnn4": "crop(pad_px=4), flip(), jitter(brightness=.2, contrast=.2, saturation=.2, hue=.05), "
            "erase(p=.25, scale=(.02, .15))",
    # Enhanced ResNet-34 on CIFAR-100; its shift is one-sided, as in its code.
    "resnet34": "crop(pad_px=4), flip(), maybe(.5, affine(rotate_deg=15, translate=(0, .1), scale=(.85, 1.15))), "
                "one_of(.3, coarse_dropout(hole_px=(8, 16)), noise(sigma=(.0125, .0278)))",
    # ResNet-50 at 224 px.
    "resnet50": "resize(px=224), jitter(brightness=.3, contrast=.3, saturation=.3, hue=.1), gray(p=.2), flip(), "
                "affine(rotate_deg=15), affine(rotate_deg=15, translate=.1), perspective(distortion=.5, p=.2), "
                "blur(kernel_px=3, sigma=(.1, .2)), erase(p=.3, scale=(.05, .2))",
    # cifar10-airbench: reflected border, every image mirrored every other epoch.
    "airbench": "crop(pad_px=2, fill=reflect), flip_alternate()",
}
