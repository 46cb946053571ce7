"""Classifiers of images, from LeNet on."""

from .registry import architecture, hugging_face, image, module


@architecture("LeNet")
def lenet():
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    ), (image(1, 28),)  # fmt: skip


@architecture("AlexNet")
def alexnet():
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(3, 16, 11, stride=4, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Dropout(), nn.Linear(128, 64), nn.ReLU(inplace=True), nn.Linear(64, 10),
    ), (image(3, 96),)  # fmt: skip


@architecture("VGG")
def vgg():
    from torch import nn

    layers: list = []
    channels = 3
    for width in (8, "pool", 16, "pool", 32, 32, "pool"):
        if width == "pool":
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(channels, int(width), 3, padding=1), nn.BatchNorm2d(int(width))]
        layers.append(nn.ReLU())
        channels = int(width)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10)), (image(),)


@architecture("ResNet")
def resnet():
    return hugging_face(
        "ResNetForImageClassification", "ResNetConfig", lambda model, x: model(x).logits,
        embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic",
    ), (image(),)  # fmt: skip


@architecture("SqueezeNet")
def squeezenet():
    import torch
    from torch import nn

    def fire(self, x):
        x = self.squeeze(x).relu()
        return torch.cat([self.one(x).relu(), self.three(x).relu()], 1)

    def block(channels: int):
        return module(fire, squeeze=nn.Conv2d(channels, 8, 1), one=nn.Conv2d(8, 16, 1),
                      three=nn.Conv2d(8, 16, 3, padding=1))  # fmt: skip

    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), block(16), block(32),
        nn.Conv2d(32, 10, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ), (image(),)  # fmt: skip


@architecture("DenseNet")
def densenet():
    import torch
    from torch import nn

    def layer(channels: int):
        return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(),
                             nn.Conv2d(channels, 8, 3, padding=1, bias=False))  # fmt: skip

    def forward(self, x):
        x = self.stem(x)
        for dense in self.layers:
            x = torch.cat([x, dense(x)], 1)
        return self.head(x.mean((2, 3)))

    stem, layers = nn.Conv2d(3, 16, 3, 2, 1), nn.ModuleList(layer(16 + 8 * i) for i in range(3))
    return module(forward, stem=stem, layers=layers, head=nn.Linear(40, 10)), (image(),)


@architecture("MobileNetV2")
def mobilenet():
    return hugging_face(
        "MobileNetV2ForImageClassification", "MobileNetV2Config", lambda model, x: model(x).logits,
        depth_multiplier=0.25, image_size=32,
    ), (image(),)  # fmt: skip


@architecture("ShuffleNet")
def shufflenet():
    from torch import nn

    def forward(self, x):
        x = self.first(self.stem(x))
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(self.second(self.depthwise(x)).mean((2, 3)))

    return module(
        forward, stem=nn.Conv2d(3, 16, 3, 2, 1), first=nn.Conv2d(16, 16, 1, groups=2),
        depthwise=nn.Conv2d(16, 16, 3, padding=1, groups=16),
        second=nn.Conv2d(16, 32, 1, groups=2), head=nn.Linear(32, 10),
    ), (image(),)  # fmt: skip


@architecture("EfficientNet")
def efficientnet():
    return hugging_face(
        "EfficientNetForImageClassification", "EfficientNetConfig",
        lambda model, x: model(x).logits,
        image_size=32, width_coefficient=0.25, depth_coefficient=0.25, hidden_dim=320,
        kernel_sizes=[3, 5], in_channels=[32, 16], out_channels=[16, 24], strides=[1, 2],
        num_block_repeats=[1, 1], expand_ratios=[1, 6], depthwise_padding=[],
    ), (image(),)  # fmt: skip


@architecture("ConvNeXt")
def convnext():
    return hugging_face(
        "ConvNextForImageClassification", "ConvNextConfig", lambda model, x: model(x).logits,
        image_size=32, hidden_sizes=[16, 32], depths=[1, 1], num_stages=2,
    ), (image(),)  # fmt: skip


SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


@architecture("ViT")
def vit():
    return hugging_face(
        "ViTForImageClassification", "ViTConfig", lambda model, x: model(x).logits,
        image_size=32, patch_size=8, **SMALL,
    ), (image(),)  # fmt: skip


@architecture("Swin")
def swin():
    return hugging_face(
        "SwinForImageClassification", "SwinConfig", lambda model, x: model(x).logits,
        image_size=32, patch_size=2, embed_dim=16, depths=[2, 1], num_heads=[2, 2], window_size=4,
    ), (image(),)  # fmt: skip


@architecture("CLIP")
def clip():
    from .registry import tokens

    def call(model, ids, x):
        found = model(input_ids=ids, pixel_values=x)
        return found.text_embeds, found.image_embeds

    text = {**SMALL, "vocab_size": 64, "max_position_embeddings": 16, "eos_token_id": 63}
    picture = {**SMALL, "image_size": 32, "patch_size": 8}
    return hugging_face(
        "CLIPModel", "CLIPConfig", call, text_config=text, vision_config=picture, projection_dim=16
    ), (tokens(8), image())
