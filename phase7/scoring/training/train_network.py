"""Training of the convolution and its quantisation. Only training imports this module and its torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from phase7.scoring.embedded.network import (
    TOKEN_LIMIT,
    WIDTHS,
    NetworkParameters,
    lexicon_values,
    subword_buckets,
)
from phase7.scoring.embedded.text import TokenizedTexts

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Shape and training of the convolution.

    Attributes
    ----------
    word_bits, subword_bits : int
        Log2 of the numbers of hash buckets.
    size : int
        Length of a token vector.
    channels : int
        Channels of each kernel width.
    epochs, batch : int
    learning_rate : float
        Peak of a cosine schedule; the embedding tables learn twice as fast.
    word_dropout, vector_dropout, pool_dropout : float
        Shares of tokens, of token-vector entries and of pooled units that are dropped.
    teacher_share : float
        Weight of the teachers' probabilities in the targets, where teachers are given.
    max_tokens : int
        Tokens of a training text that are read.
    """

    word_bits: int = 15
    subword_bits: int = 15
    size: int = 64
    channels: int = 128
    epochs: int = 5
    batch: int = 256
    learning_rate: float = 2e-3
    word_dropout: float = 0.15
    vector_dropout: float = 0.25
    pool_dropout: float = 0.5
    teacher_share: float = 0.6
    max_tokens: int = 64


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Token sequences of a data set, with a vocabulary of its distinct words.

    Attributes
    ----------
    word : int64 [n_texts, max_tokens]
        Index of each token's word; the number of words where there is no token.
    shouted : float32 [n_texts, max_tokens]
    length : int64 [n_texts]
    bucket : int64 [n_words + 1]
        Word bucket of each word; the last entry is the padding row.
    gram_bucket, first_gram : int64
        Subword buckets of all words, and where each word's begin.
    valence : float32 [n_words + 1, 2]
    """

    word: torch.Tensor
    shouted: torch.Tensor
    length: NDArray[np.int64]
    bucket: torch.Tensor
    gram_bucket: NDArray[np.int64]
    first_gram: NDArray[np.int64]
    valence: torch.Tensor


def sequences(
    tokens: TokenizedTexts,
    config: NetworkConfig,
    lexicon: tuple[NDArray[np.uint64], Floats],
) -> Sequences:
    """Arrange tokens for training."""
    unique, first, inverse = np.unique(tokens.hashes, return_index=True, return_inverse=True)
    limit = config.max_tokens
    place = np.arange(inverse.size) - tokens.first_token[tokens.token_text]
    kept = place < limit
    cell = tokens.token_text[kept], place[kept]
    word = np.full((tokens.n_texts, limit), unique.size, dtype=np.int64)
    word[cell] = inverse[kept]
    shouted = np.zeros(word.shape, dtype=np.float32)
    shouted[cell] = tokens.shouted[kept]
    bucket = (unique >> np.uint64(64 - config.word_bits)).astype(np.int64)
    gram_bucket, first_gram = subword_buckets(tokens, first, config.subword_bits)
    valence = np.concatenate([lexicon_values(unique, *lexicon), np.zeros((1, 2))])
    return Sequences(
        word=torch.from_numpy(word),
        shouted=torch.from_numpy(shouted),
        length=np.clip(np.diff(tokens.first_token), 1, limit),
        bucket=torch.from_numpy(np.append(bucket, 1 << config.word_bits)),
        gram_bucket=gram_bucket,
        first_gram=first_gram,
        valence=torch.from_numpy(valence.astype(np.float32)),
    )


class WordConvolution(nn.Module):
    """The network of `network`, in floating point and with dropout.

    Parameters
    ----------
    config : NetworkConfig
    base_rate : float64 [n_labels]
        Share of texts with each label; the output starts there.
    """

    def __init__(self, config: NetworkConfig, base_rate: Floats) -> None:
        super().__init__()
        self.config = config
        n_words, n_channels = 1 << config.word_bits, config.channels * len(WIDTHS)
        self.words = nn.Embedding(n_words + 1, config.size, padding_idx=n_words, sparse=True)
        nn.init.normal_(self.words.weight, std=0.1)
        self.subwords = nn.EmbeddingBag(1 << config.subword_bits, config.size, mode="sum", sparse=True)
        nn.init.normal_(self.subwords.weight, std=0.05)
        with torch.no_grad():
            self.words.weight[n_words] = 0
        self.shouted = nn.Parameter(torch.zeros(config.size))
        self.valence = nn.Parameter(torch.randn(2, config.size) * 0.05)
        self.layers = [
            nn.Conv1d(config.size, config.channels, width, padding=width // 2) for width in WIDTHS
        ]
        self.convolutions = nn.ModuleList(self.layers)
        self.attention = nn.Linear(n_channels, 1, bias=False)
        self.output = nn.Linear(2 * n_channels, base_rate.size)
        with torch.no_grad():
            self.output.weight *= 0.3
            self.output.bias.copy_(torch.from_numpy(np.log(base_rate / (1.0 - base_rate))))

    def word_vectors(self, data: Sequences, used: torch.Tensor) -> torch.Tensor:
        """Vectors of the words `used` (float32 [n_used, size]); padding is zero."""
        n_words = data.first_gram.size - 1
        real = used[used < n_words].numpy()
        sizes = data.first_gram[real + 1] - data.first_gram[real]
        offsets = np.cumsum(sizes) - sizes
        place = np.repeat(data.first_gram[real] - offsets, sizes) + np.arange(sizes.sum())
        grams = torch.from_numpy(data.gram_bucket[place])
        sums = self.subwords(grams, torch.from_numpy(offsets))
        spelled = sums / torch.from_numpy(np.sqrt(sizes).astype(np.float32))[:, None]
        padding = torch.zeros(used.numel() - real.size, self.config.size)
        vectors = self.words(data.bucket[used]) + data.valence[used] @ self.valence
        whole: torch.Tensor = vectors + torch.cat([spelled, padding])
        return whole

    def forward(self, data: Sequences, rows: NDArray[np.int64]) -> torch.Tensor:
        """Logits of the texts `rows` (float32 [n_rows, n_labels])."""
        config, width = self.config, int(data.length[rows].max())
        index = torch.from_numpy(rows)
        word, shouted = data.word[index, :width], data.shouted[index, :width]
        present = word < data.first_gram.size - 1
        used, inverse = torch.unique(word, return_inverse=True)
        vectors = self.word_vectors(data, used)[inverse] + shouted[..., None] * self.shouted
        if self.training:
            vectors = vectors * (torch.rand(word.shape) > config.word_dropout)[..., None]
            vectors = nn.functional.dropout(vectors, config.vector_dropout)
        vectors = vectors.transpose(1, 2) * present[:, None]
        hidden = torch.cat([torch.relu(layer(vectors)) for layer in self.layers], dim=1)
        hidden = hidden * present[:, None]
        scores = self.attention(hidden.transpose(1, 2)).squeeze(2)
        shares = scores.masked_fill(~present, -1e4).softmax(dim=1)
        attended = (hidden * shares[:, None]).sum(dim=2)
        pooled = torch.cat([hidden.amax(dim=2), attended], dim=1)
        dropped = nn.functional.dropout(pooled, config.pool_dropout, self.training)
        logits: torch.Tensor = self.output(dropped)
        return logits


def train_network(
    data: Sequences,
    targets: NDArray[np.float32],
    config: NetworkConfig,
    seed: int,
    teacher: Floats | None = None,
) -> WordConvolution:
    """Train one network.

    Parameters
    ----------
    targets : float32 [n_texts, n_labels]
        0 or 1.
    teacher : float64 [n_texts, n_labels], optional
        Probabilities of other models, mixed into the targets (Hinton et al. 2015, "Distilling the
        Knowledge in a Neural Network").

    Returns
    -------
    WordConvolution
        In evaluation mode. The loss is the binary cross-entropy summed over labels: its mean would
        make the steps 28 times smaller, and the network under-trains.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = WordConvolution(config, targets.mean(axis=0, dtype=np.float64))
    optimisers = _optimisers(model, config.learning_rate)
    mixed = targets
    if teacher is not None:
        share = config.teacher_share
        mixed = ((1.0 - share) * targets + share * teacher).astype(np.float32)
    goal = torch.from_numpy(mixed)
    n_steps = config.epochs * -(-len(goal) // config.batch)
    step = 0
    for _ in range(config.epochs):
        for rows in _batches(data.length, config.batch, rng):
            share = min(1.0, step / 100) * 0.5 * (1.0 + np.cos(np.pi * step / n_steps))
            for optimiser, peak in optimisers:
                optimiser.param_groups[0]["lr"] = peak * share + 1e-6
                optimiser.zero_grad()
            loss = nn.functional.binary_cross_entropy_with_logits(
                model(data, rows), goal[torch.from_numpy(rows)], reduction="none"
            )
            loss.sum(dim=1).mean().backward()
            for optimiser, _ in optimisers:
                optimiser.step()
            step += 1
    return model.eval()


def _optimisers(model: WordConvolution, rate: float) -> list[tuple[torch.optim.Optimizer, float]]:
    """One for the tables, whose gradients are sparse, one for the rest; each with its peak rate."""
    tables = [model.words.weight, model.subwords.weight]
    table_ids = {id(table) for table in tables}
    dense = [p for p in model.parameters() if id(p) not in table_ids]
    return [
        (torch.optim.AdamW(dense, lr=rate, weight_decay=1e-3), rate),
        (torch.optim.SparseAdam(tables, lr=2 * rate), 2 * rate),
    ]


def predict(model: WordConvolution, data: Sequences) -> Floats:
    """Floating-point logits of all texts (float64 [n_texts, n_labels])."""
    order = np.argsort(data.length, kind="stable")
    result = np.zeros((order.size, model.output.out_features))
    with torch.no_grad():
        for begin in range(0, order.size, 512):
            rows = order[begin : begin + 512]
            result[rows] = model(data, rows).numpy()
    return result


def quantise(
    model: WordConvolution, data: Sequences, lexicon: tuple[NDArray[np.uint64], Floats]
) -> NetworkParameters:
    """Round a trained network to the integers of `NetworkParameters`.

    Parameters
    ----------
    model : WordConvolution
    data : Sequences
        Training texts: the range of their token vectors sets the integer step.
    lexicon : (uint64 [n], float64 [n, 2])
    """
    with torch.no_grad():
        used = torch.arange(data.first_gram.size - 1)
        vectors = model.word_vectors(data, used)
        step = float(vectors.abs().flatten().kthvalue(int(vectors.numel() * 0.9998)).values)
        step /= TOKEN_LIMIT
        words, word_unit = _to_int8(model.words.weight[:-1].numpy())
        subwords, subword_unit = _to_int8(model.subwords.weight.numpy())
        kernels, kernel_unit = _kernels(model)
        bias = torch.cat([layer.bias for layer in model.layers if layer.bias is not None]).numpy()
        channel = kernel_unit * step
        attention = model.attention.weight[0].numpy().astype(np.float64) * channel
        attention_unit = float(np.abs(attention).max()) / 32767
        output = model.output.weight.numpy().T.astype(np.float64) * np.tile(channel, 2)[:, None]
        output_unit = np.abs(output).max(axis=0) / 32767
        return NetworkParameters(
            words=words,
            subwords=subwords,
            word_unit=word_unit / step,
            subword_unit=subword_unit / step,
            shouted=model.shouted.numpy().astype(np.float64) / step,
            valence=model.valence.numpy().astype(np.float64) / step,
            lexicon_hashes=lexicon[0],
            lexicon_valence=lexicon[1],
            kernels=kernels,
            kernel_bias=np.rint(bias / channel).astype(np.float32),
            attention=np.rint(attention / attention_unit),
            attention_unit=attention_unit,
            output=np.rint(output / output_unit),
            output_unit=output_unit,
            output_bias=model.output.bias.numpy().astype(np.float64),
        )


def _batches(lengths: NDArray[np.int64], size: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Shuffled batches of texts of similar lengths, which wastes little padding."""
    shuffled = rng.permutation(lengths.size)
    chunk = size * 16
    pieces = np.split(shuffled, range(chunk, lengths.size, chunk))
    order = np.concatenate([p[np.argsort(lengths[p], kind="stable")] for p in pieces])
    batches = [order[begin : begin + size] for begin in range(0, order.size, size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def _to_int8(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], float]:
    """Nearest multiples of one step; the largest 0.01 % of the entries are clipped."""
    unit = float(np.quantile(np.abs(table), 0.9999)) / 127
    return np.clip(np.rint(table / unit), -127, 127).astype(np.int8), unit


def _kernels(model: WordConvolution) -> tuple[NDArray[np.float32], Floats]:
    """All kernels in one window of five tokens, as whole numbers, and each channel's step."""
    columns = []
    for layer in model.layers:
        weight = layer.weight.numpy()
        margin = (max(WIDTHS) - weight.shape[2]) // 2
        padded = np.pad(weight, ((0, 0), (0, 0), (margin, margin)))
        columns.append(padded.transpose(2, 1, 0).reshape(-1, weight.shape[0]))
    stacked = np.concatenate(columns, axis=1).astype(np.float64)
    unit = np.abs(stacked).max(axis=0) / TOKEN_LIMIT
    return np.rint(stacked / unit).astype(np.float32), unit
