"""One body per operation, as the documentation's examples have it, with prompts of our own.

https://docs.modelslab.com/enterprise-api/text-to-image/text2img
https://docs.modelslab.com/enterprise-api/text-to-image/img2img
https://docs.modelslab.com/enterprise-api/text-to-image/inpainting
checked 2026-09
"""

from __future__ import annotations

from service.providers.contract import Json

_PICTURE = (
    "https://raw.githubusercontent.com/CompVis/stable-diffusion/main/data/inpainting_examples/"
    "overture-creations-5sI6fQgYIuo.png"
)

EXAMPLES: dict[str, Json] = {
    "text2img": {
        "model_id": "realistic-vision-51",
        "prompt": "a lighthouse at dawn",
        "negative_prompt": "blurry, low contrast",
        "width": "512",
        "height": "512",
        "samples": "1",
        "num_inference_steps": "20",
        "safety_checker": "no",
        "enhance_prompt": "yes",
        "seed": None,
        "guidance_scale": 7.5,
        "panorama": "no",
        "self_attention": "no",
        "upscale": "no",
        "lora_model": None,
        "clip_skip": "2",
        "tomesd": "yes",
        "use_karras_sigmas": "yes",
        "vae": None,
        "lora_strength": None,
        "scheduler": "UniPCMultistepScheduler",
        "webhook": None,
        "track_id": None,
    },
    "img2img": {
        "model_id": "realistic-vision-51",
        "prompt": "a bench in the snow",
        "negative_prompt": None,
        "init_image": _PICTURE,
        "samples": "1",
        "num_inference_steps": "31",
        "safety_checker": "yes",
        "enhance_prompt": "yes",
        "guidance_scale": 7.5,
        "strength": 0.7,
        "scheduler": "UniPCMultistepScheduler",
        "seed": None,
        "lora_model": None,
        "tomesd": "yes",
        "use_karras_sigmas": "yes",
        "vae": None,
        "lora_strength": None,
        "webhook": None,
        "track_id": None,
    },
    "inpaint": {
        "model_id": "realistic-vision-51",
        "prompt": "a cat sitting on a bench",
        "negative_prompt": None,
        "init_image": _PICTURE,
        "mask_image": _PICTURE.replace(".png", "_mask.png"),
        "width": "512",
        "height": "512",
        "samples": "1",
        "num_inference_steps": "30",
        "safety_checker": "no",
        "enhance_prompt": "yes",
        "guidance_scale": 7.5,
        "strength": 0.7,
        "scheduler": "PNDMScheduler",
        "seed": None,
        "lora_model": None,
        "tomesd": "yes",
        "use_karras_sigmas": "yes",
        "vae": None,
        "lora_strength": None,
        "webhook": None,
        "track_id": None,
    },
}
