"""How far a U-Net looks: the pixels that a pixel of its output depends on through convolutions and resizing."""

from hyperlab.models.unet import UNet


def receptive_field(net: UNet) -> int:
    """The side, in pixels, of the smallest window that holds all that any pixel of the output depends on.

    Of levels at a factor 1/2 and of sizes that divide. Statistics of a group normalisation depend on the whole window
    besides, in whatever size it is.

    >>> receptive_field(UNet((4,))), receptive_field(UNet((4, 4)))
    (5, 20)
    """
    lowest = len(net.widths) - 1
    # SAME convolutions of an even kernel reach one further up than down
    down, up = (net.convs_per_block * reach for reach in ((net.kernel_size - 1) // 2, net.kernel_size // 2))

    def encoder(level: int, first: int, last: int) -> tuple[int, int]:
        first, last = first - down, last + up
        # a pixel is the mean of two pixels of the level above
        return encoder(level - 1, 2 * first, 2 * last + 1) if level else (first, last)

    def decoder(level: int, first: int, last: int) -> tuple[int, int]:
        if level == lowest:
            return encoder(level, first, last)
        first, last = first - down, last + up
        # between the centres of two pixels of the level below, whichever half of one it lies in
        lower = decoder(level + 1, (first - 1) // 2, (last + 1) // 2)
        beside = encoder(level, first, last) if net.skip != "none" else lower
        return min(lower[0], beside[0]), max(lower[1], beside[1])

    reaches = [decoder(0, pixel, pixel) for pixel in range(2**lowest)]
    return max(last - first + 1 for first, last in reaches)
