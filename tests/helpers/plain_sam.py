"""SAM networks run by transformers itself, as its users must: one session per object and direction."""

import numpy as np
import torch
from torch.nn import functional as F
from transformers.models.edgetam_video.modeling_edgetam_video import EdgeTamVideoInferenceSession
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import Sam3TrackerVideoInferenceSession

SESSIONS = {
    "sam2": Sam2VideoInferenceSession,
    "edgetam": EdgeTamVideoInferenceSession,
    "sam3": Sam3TrackerVideoInferenceSession,
}
MEAN = {"sam2": (0.485, 0.456, 0.406), "edgetam": (0.485, 0.456, 0.406), "sam3": (0.5, 0.5, 0.5)}
STD = {"sam2": (0.229, 0.224, 0.225), "edgetam": (0.229, 0.224, 0.225), "sam3": (0.5, 0.5, 0.5)}


def processed(images, size, kind):
    """Frames, uint8 [T, H, W, 3], as the processors make them: float32 [T, 3, S, S]."""
    x = F.interpolate(torch.from_numpy(images).permute(0, 3, 1, 2), (size, size), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values[kind]).view(3, 1, 1) for values in (MEAN, STD))
    return x.float().sub_(mean * 255).div_(std * 255)  # rescaling and normalisation in one step


def prompt(mask, size):
    """A mask, bool [H, W], as the processors make it: float32 [1, 1, S, S]."""
    x = torch.from_numpy(mask).float()[None, None]
    x = F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return (x >= 0.5).float()


def session(model, kind, pixels, size):
    """A session with one object, whose index is 0."""
    made = SESSIONS[kind](video=pixels, video_height=size[0], video_width=size[1], dtype=torch.float32)
    assert made.obj_id_to_idx(1) == 0
    return made


def track(model, kind, pixels, size, masks, reverse, cache=None):
    """One object in one direction, from its first key frame in that direction.

    Args:
        model: the network of transformers.
        kind: its kind.
        pixels: float32 [T, 3, S, S].
        size: (H, W) of the video.
        masks: {key frame: bool [H, W]}.
        reverse: whether to track in reverse time.
        cache: a list that keeps the cache of image features for other calls; None computes them again.

    Yields:
        (t, logits [1, 1, h, w], object score logit), frame by frame.
    """
    made = session(model, kind, pixels, size)
    if cache is not None:
        made.cache.max_vision_features_cache_size = len(pixels)
        made.cache = (cache or [made.cache])[0]
        cache[:] = [made.cache]
    order = range(max(masks), -1, -1) if reverse else range(min(masks), len(pixels))
    for t in order:
        if t in masks:
            made.add_mask_inputs(0, t, prompt(masks[t], model.config.image_size))
            made.obj_with_new_inputs = [1]
        output = model(made, frame_idx=t, reverse=reverse)
        yield t, output.pred_masks, output.object_score_logits.item()


def video_masks(logits, size):
    """Logits at the size of the video, as `post_process_masks` resizes them before it thresholds at 0, [H, W]."""
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)[0, 0].numpy()


def probabilities(logits):
    """float32 probabilities of numpy logits."""
    return 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -50, 50)))
