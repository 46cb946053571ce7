"""Models of sound."""

from .registry import architecture, hugging_face, tokens


@architecture("Whisper")
def whisper():
    import torch

    def call(model, features, ids):
        return model(input_features=features, decoder_input_ids=ids, use_cache=False).logits

    return hugging_face(
        "WhisperForConditionalGeneration", "WhisperConfig", call,
        vocab_size=64, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=48, decoder_ffn_dim=48, num_mel_bins=8,
        max_source_positions=16, max_target_positions=16, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=1,
    ), (torch.randn(1, 8, 32), tokens(8))  # fmt: skip


@architecture("wav2vec 2.0")
def wav2vec():
    import torch

    return hugging_face(
        "Wav2Vec2ForCTC", "Wav2Vec2Config", lambda model, x: model(x).logits,
        vocab_size=32, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=48, conv_dim=(16, 16), conv_stride=(5, 2), conv_kernel=(10, 3),
        num_feat_extract_layers=2, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    ), (torch.randn(1, 400),)  # fmt: skip


@architecture("Conformer block")
def conformer():
    """Half a feed-forward, attention, a gated depthwise convolution, and the other half."""
    import torch
    from torch import nn

    from .registry import module

    def forward(self, x):
        x = x + self.one(x) / 2
        x = x + self.attend(x, x, x)[0]
        gated = nn.functional.glu(self.wide(x.transpose(1, 2)), 1)
        x = x + self.narrow(nn.functional.silu(self.norm(self.depthwise(gated)))).transpose(1, 2)
        return self.last(x + self.two(x) / 2)

    def feed():
        return nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 64), nn.SiLU(), nn.Linear(64, 32))

    return module(
        forward, one=feed(), two=feed(), attend=nn.MultiheadAttention(32, 2, batch_first=True),
        wide=nn.Conv1d(32, 64, 1), depthwise=nn.Conv1d(32, 32, 7, padding=3, groups=32),
        norm=nn.BatchNorm1d(32), narrow=nn.Conv1d(32, 32, 1), last=nn.LayerNorm(32),
    ), (torch.randn(1, 24, 32),)  # fmt: skip
