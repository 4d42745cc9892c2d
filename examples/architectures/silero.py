"""Voice activity of 16 kHz speech (Silero VAD, versions 5 and 6), as its published weights are named.

    bessemer convert silero_vad_16k.safetensors --factory examples/architectures/silero.py:silero_16k --to tflite
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

BINS = 129
HIDDEN = 128


class SileroVad(nn.Module):
    """A spectrogram by convolution, four convolutions, one step of an LSTM, and the probability of speech."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 2 * BINS, 256, 128, bias=False)
        self.conv1 = nn.Conv1d(BINS, 128, 3, 1, 1)
        self.conv2 = nn.Conv1d(128, 64, 3, 2, 1)
        self.conv3 = nn.Conv1d(64, 64, 3, 2, 1)
        self.conv4 = nn.Conv1d(64, HIDDEN, 3, 1, 1)
        self.lstm_cell = nn.LSTMCell(HIDDEN, HIDDEN)
        self.final_conv = nn.Conv1d(HIDDEN, 1, 1)

    def forward(self, samples: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """samples: (N, 576), 64 of the window before and 512 of this one; state: (2, N, 128), hidden and cell.

        Returns the probability (N, 1) and the state for the next window.
        """
        padded = nn.functional.pad(samples.unsqueeze(1), (0, 64), mode="reflect")
        waves = self.stft_conv(padded)
        x = torch.sqrt(waves[:, :BINS] ** 2 + waves[:, BINS:] ** 2)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = torch.relu(conv(x))
        hidden, cell = self.lstm_cell(x.squeeze(-1), (state[0], state[1]))
        speech = torch.sigmoid(self.final_conv(torch.relu(hidden).unsqueeze(-1)))
        return speech.squeeze(1), torch.stack([hidden, cell])


def silero_16k() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """One window, as a microphone gives them."""
    return SileroVad(), (torch.randn(1, 576) * 0.1, torch.zeros(2, 1, HIDDEN))
