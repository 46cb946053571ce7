"""Models whose results are as large as an image, or boxes in one."""

from .registry import architecture, hugging_face, image, module


@architecture("UNet")
def unet():
    import torch
    from torch import nn

    def block(inputs: int, outputs: int):
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                             nn.BatchNorm2d(outputs), nn.ReLU())  # fmt: skip

    def forward(self, x):
        high = self.down(x)
        low = self.middle(nn.functional.max_pool2d(high, 2))
        return self.head(self.join(torch.cat([high, self.up(low)], 1)))

    return module(
        forward, down=block(3, 8), middle=block(8, 16), up=nn.ConvTranspose2d(16, 8, 2, 2),
        join=block(16, 8), head=nn.Conv2d(8, 2, 1),
    ), (image(),)  # fmt: skip


@architecture("Diffusion UNet")
def diffusion_unet():
    """Group norms, a time embedding, and attention to a text."""
    import torch
    from torch import nn

    def forward(self, x, time, text):
        angle = time[:, None] * torch.exp(-torch.arange(8) / 2.0)
        shift = self.time(torch.cat([angle.sin(), angle.cos()], 1))[:, :, None, None]
        x = self.first(nn.functional.silu(self.norm(self.stem(x)))) + shift
        flat = x.flatten(2).transpose(1, 2)
        q, k, v = self.q(flat), self.k(text), self.v(text)
        weights = torch.softmax(q @ k.transpose(1, 2) / 4.0, -1)
        x = x + self.out(weights @ v).transpose(1, 2).reshape(x.shape)
        return self.last(nn.functional.interpolate(self.shrink(x), scale_factor=2.0))

    return module(
        forward, stem=nn.Conv2d(3, 16, 3, padding=1), norm=nn.GroupNorm(4, 16),
        first=nn.Conv2d(16, 16, 3, padding=1), time=nn.Linear(16, 16), q=nn.Linear(16, 16),
        k=nn.Linear(24, 16), v=nn.Linear(24, 16), out=nn.Linear(16, 16),
        shrink=nn.Conv2d(16, 16, 3, 2, 1), last=nn.Conv2d(16, 3, 3, padding=1),
    ), (image(3, 16), torch.tensor([3.0]), torch.randn(1, 5, 24))  # fmt: skip


@architecture("DiT")
def dit():
    """A transformer of patches whose norms are scaled and shifted by a condition."""
    import torch
    from torch import nn

    def forward(self, x, condition):
        h = self.patch(x).flatten(2).transpose(1, 2) + self.position
        shift, scale, gate = self.modulate(nn.functional.silu(condition))[:, None].chunk(3, -1)
        h = h + gate * self.attend(*[self.norm(h) * (1 + scale) + shift] * 3)[0]
        h = h + gate * self.mlp(self.norm(h) * (1 + scale) + shift)
        h = self.head(h).reshape(1, 4, 4, 4, 4, 3)
        return h.permute(0, 5, 1, 3, 2, 4).reshape(1, 3, 16, 16)

    return module(
        forward, patch=nn.Conv2d(3, 32, 4, 4), position=nn.Parameter(torch.randn(1, 16, 32)),
        modulate=nn.Linear(32, 96), norm=nn.LayerNorm(32, elementwise_affine=False),
        attend=nn.MultiheadAttention(32, 2, batch_first=True),
        mlp=nn.Sequential(nn.Linear(32, 64), nn.GELU(approximate="tanh"), nn.Linear(64, 32)),
        head=nn.Linear(32, 48),
    ), (image(3, 16), torch.randn(1, 32))  # fmt: skip


@architecture("YOLO head")
def yolo():
    """Two scales, their features joined, boxes decoded on a grid."""
    import torch
    from torch import nn

    def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1):
        return nn.Sequential(nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
                             nn.BatchNorm2d(outputs), nn.SiLU())  # fmt: skip

    def decoded(raw, stride: int):
        n, _, h, w = raw.shape
        rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        grid = torch.stack([columns, rows]).float()
        middle = (raw[:, :2].sigmoid() * 2 - 0.5 + grid) * stride
        extent = (raw[:, 2:4].sigmoid() * 2) ** 2 * stride
        return torch.cat([middle, extent, raw[:, 4:].sigmoid()], 1).reshape(n, -1, h * w)

    def forward(self, x):
        fine = self.fine(self.stem(x))
        coarse = self.coarse(fine)
        pooled = [coarse, *(nn.functional.max_pool2d(coarse, k, 1, k // 2) for k in (3, 5))]
        coarse = self.pyramid(torch.cat(pooled, 1))
        up = nn.functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        fine = self.join(torch.cat([fine, up], 1))
        return torch.cat([decoded(self.one(fine), 4), decoded(self.two(coarse), 8)], 2)

    return module(
        forward, stem=conv(3, 8, 6, 2), fine=conv(8, 16, 3, 2), coarse=conv(16, 16, 3, 2),
        pyramid=conv(48, 16, 1), join=conv(32, 16), one=nn.Conv2d(16, 9, 1),
        two=nn.Conv2d(16, 9, 1),
    ), (image(3, 31),)  # fmt: skip


@architecture("DETR")
def detr():
    """A convolutional backbone, a transformer of its pixels, and queries for objects."""
    import torch
    from torch import nn

    def forward(self, x):
        memory = self.backbone(x).flatten(2).transpose(1, 2) + self.position
        h = self.transformer(memory, self.queries)
        return self.classes(h), self.boxes(h).sigmoid()

    transformer = nn.Transformer(32, 2, 1, 1, 64, batch_first=True)
    return module(
        forward, backbone=nn.Sequential(nn.Conv2d(3, 32, 8, 8), nn.ReLU()),
        position=nn.Parameter(torch.randn(1, 16, 32)), transformer=transformer,
        queries=nn.Parameter(torch.randn(1, 5, 32)), classes=nn.Linear(32, 4),
        boxes=nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4)),
    ), (image(),)  # fmt: skip


@architecture("SegFormer")
def segformer():
    return hugging_face(
        "SegformerForSemanticSegmentation", "SegformerConfig", lambda model, x: model(x).logits,
        num_encoder_blocks=2, depths=[1, 1], hidden_sizes=[16, 32], num_attention_heads=[1, 2],
        sr_ratios=[2, 1], patch_sizes=[7, 3], strides=[4, 2], mlp_ratios=[2, 2],
        decoder_hidden_size=32,
    ), (image(),)  # fmt: skip


@architecture("Super-resolution")
def super_resolution():
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 9, 3, padding=1), nn.PixelShuffle(3),
    ), (image(1, 16),)  # fmt: skip


@architecture("Style transfer")
def style_transfer():
    from torch import nn

    return nn.Sequential(
        nn.ReflectionPad2d(1), nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8, affine=True), nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2, 1), nn.InstanceNorm2d(16, affine=True), nn.ReLU(),
        nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(16, 3, 3, padding=1),
    ), (image(3, 16),)  # fmt: skip


@architecture("GAN generator")
def generator():
    import torch
    from torch import nn

    return nn.Sequential(
        nn.Unflatten(1, (16, 1, 1)), nn.ConvTranspose2d(16, 16, 4, 1, 0, bias=False),
        nn.BatchNorm2d(16), nn.ReLU(), nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False),
        nn.BatchNorm2d(8), nn.ReLU(), nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Tanh(),
    ), (torch.randn(1, 16),)  # fmt: skip
