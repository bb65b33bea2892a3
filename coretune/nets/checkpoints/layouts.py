"""The layouts of checkpoints: how each project names what it saves, and which part is the backbone.

Read in the projects' own code, of which nothing is copied (repository: files):

- facebookresearch/moco: moco/builder.py, main_lincls.py; facebookresearch/moco-v3: moco/builder.py, vits.py,
  main_lincls.py; salesforce/PCL: pcl/builder.py, eval_cls_imagenet.py.
- sthalles/SimCLR: models/resnet_simclr.py; Spijkervet/SimCLR: simclr/simclr.py; AndrewAtanov/simclr-pytorch:
  models/encoder.py; tonylins/simclr-converter: convert.py; Separius/SimCLRv2-Pytorch: convert.py.
- facebookresearch/swav: src/resnet50.py, main_deepclusterv2.py.
- lucidrains/byol-pytorch: byol_pytorch/byol_pytorch.py; sthalles/PyTorch-BYOL:
  models/resnet_base_network.py, trainer.py; yaox12/BYOL-PyTorch: model/basic_modules.py, utils/load_and_convert.py.
- facebookresearch/simsiam: simsiam/builder.py; facebookresearch/barlowtwins: main.py.
- facebookresearch/dino: main_dino.py, vision_transformer.py, utils.py.
- HobbitLong/PyContrast: pycontrast/networks/build_backbone.py, networks/util.py, learning/contrast_trainer.py,
  detection/convert_pretrained.py.
- akamaster/pytorch_resnet_cifar10: resnet.py; torchvision and timm: their resnet.py and vision_transformer.py;
  torchvision: swin_transformer.py and convnext.py.

Projects whose files have the same keys share an entry, and `also` says so: no key tells MoCo from PCL, a plain
ResNet of torchvision from one of timm, of Barlow Twins, of DINO or converted from SimCLR's TensorFlow weights, nor a
plain ViT of timm from DINO's.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """How a project names what it saves. Keys are meant without what data parallelism puts before them (`module.`).

    Attributes:
        name: What it is called here.
        source: Where the layout is read.
        prefixes: What the keys of the backbone begin with; the first that is found counts.
        marks: Regular expressions, each of which some key of the same dictionary matches.
        sections: The dictionaries it may stand in, in order of preference; none: any.
        dropped: Regular expressions of keys, and what they are: not the backbone.
        metadata: Keys that a safetensors file's metadata has.
        also: Projects whose files look the same.
    """

    name: str
    source: str
    prefixes: tuple[str, ...]
    marks: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    dropped: tuple[tuple[str, str], ...] = ()
    metadata: tuple[str, ...] = ()
    also: str = ""


OWN = "coretune"
CONVERTED = "coretune (converted)"
UNKNOWN = "unknown"

_FC = "projection head"
_CLASSIFIER = "classifier"
_QUEUE = (r"^queue(_ptr)?\d*$", "queue of negatives")
_MOMENTUM = "momentum encoder"
_PREDICTOR = (r"^(online_)?predictor\.", "predictor")
_PROJECTOR = (r"^(projector|projection|projetion|projection_head)\.", "projection head")
_PLAIN_HEADS = (r"^(fc|head|heads|classifier|linear|last_linear)\.", _CLASSIFIER)

LAYOUTS: tuple[Layout, ...] = (
    Layout(
        CONVERTED,
        "coretune checkpoint convert",
        ("encoder.",),
        metadata=("layout", "source_sha256"),
    ),
    Layout(
        OWN,
        "coretune/runs/trained.py",
        ("encoder.",),
        marks=(r"^normalise\.mean$",),
        dropped=(
            (r"^normalise\.", "normalisation"),
            (r"^classifier\.", _CLASSIFIER),
            (r"^method\.", "modules of the method"),
        ),
    ),
    Layout(
        "moco_v3",
        "facebookresearch/moco-v3: moco/builder.py",
        ("base_encoder.",),
        dropped=(
            (r"^base_encoder\.(fc|head)\.", _FC),
            (r"^momentum_encoder\.", _MOMENTUM),
            _PREDICTOR,
        ),
    ),
    Layout(
        "moco_v2",
        "facebookresearch/moco: moco/builder.py, with mlp",
        ("encoder_q.",),
        marks=(r"^encoder_q\.fc\.\d",),
        dropped=((r"^encoder_q\.fc\.", _FC), (r"^encoder_k\.", _MOMENTUM), _QUEUE),
        also="PCL v2 (salesforce/PCL)",
    ),
    Layout(
        "moco_v1",
        "facebookresearch/moco: moco/builder.py",
        ("encoder_q.",),
        dropped=((r"^encoder_q\.fc\.", _FC), (r"^encoder_k\.", _MOMENTUM), _QUEUE),
        also="PCL v1 (salesforce/PCL)",
    ),
    Layout(
        "dino",
        "facebookresearch/dino: main_dino.py",
        ("backbone.",),
        marks=(r"^head\.(mlp\.|last_layer\.)",),
        sections=("teacher", "", "state_dict", "student"),
        dropped=((r"^head\.", _FC), (r"^backbone\.(fc|head)\.", _FC)),
    ),
    Layout(
        "byol",
        "lucidrains/byol-pytorch: byol_pytorch/byol_pytorch.py; yaox12/BYOL-PyTorch: model/byol_model.py",
        (
            "online_encoder.net.",
            "learner.online_encoder.net.",
            "online_network.encoder.",
            "online_network.backbone.",
            "online_encoder.encoder.",
            "online_encoder.",
            "online_network.",
        ),
        dropped=(
            (r"(^|\.)target_(encoder|network)\.", "target network"),
            (r"^(learner\.)?net\.", "a second copy of the network"),
            (r"^(learner\.)?online_(encoder|network)\.(projector|projetion|projection)\.", _FC),
            (r"^(learner\.)?online_(encoder|network)\.(net\.|encoder\.|backbone\.)?fc\.", _FC),
            (r"^(learner\.)?(online_)?predictor\.", "predictor"),
        ),
    ),
    Layout(
        "byol",
        "sthalles/PyTorch-BYOL: models/resnet_base_network.py, trainer.py; yaox12/BYOL-PyTorch: the released file",
        ("encoder.", ""),
        sections=("online_network_state_dict", "online_backbone"),
        dropped=(_PROJECTOR, (r"^(encoder\.)?fc\.", _FC)),
    ),
    Layout(
        "barlow_twins",
        "facebookresearch/barlowtwins: main.py",
        ("backbone.",),
        marks=(r"^projector\.\d", r"^bn\.running_mean$"),
        dropped=(
            _PROJECTOR,
            (r"^bn\.", "batch norm of the projections"),
            (r"^backbone\.fc\.", _CLASSIFIER),
        ),
    ),
    Layout(
        "simsiam",
        "facebookresearch/simsiam: simsiam/builder.py",
        ("encoder.",),
        marks=(r"^encoder\.fc\.\d", r"^predictor\."),
        dropped=((r"^encoder\.fc\.", _FC), _PREDICTOR),
    ),
    Layout(
        "infomin",
        "HobbitLong/PyContrast: pycontrast/networks/build_backbone.py, RGBMultiHeads with mlp heads",
        ("encoder.",),
        marks=(r"^head_jig\.fc1\.\d",),
        sections=("model", "", "state_dict", "model_ema"),
        dropped=((r"^head\.", _FC), (r"^head_jig\.", "projection head of the jigsaw pieces"), (r"^encoder\.fc\.", _FC)),
        also="PIRL v2 of PyContrast",
    ),
    Layout(
        "pirl",
        "HobbitLong/PyContrast: pycontrast/networks/build_backbone.py, RGBMultiHeads with linear heads",
        ("encoder.",),
        marks=(r"^head_jig\.",),
        sections=("model", "", "state_dict", "model_ema"),
        dropped=((r"^head\.", _FC), (r"^head_jig\.", "projection head of the jigsaw pieces"), (r"^encoder\.fc\.", _FC)),
    ),
    Layout(
        "pycontrast",
        "HobbitLong/PyContrast: pycontrast/networks/build_backbone.py, RGBSingleHead with an mlp head",
        ("encoder.",),
        marks=(r"^head\.2\.",),
        sections=("model", "", "state_dict", "model_ema"),
        dropped=((r"^head\.", _FC), (r"^encoder\.fc\.", _FC)),
        also="MoCo v2 of PyContrast; SupCon (HobbitLong/SupContrast)",
    ),
    Layout(
        "insdis",
        "HobbitLong/PyContrast: pycontrast/networks/build_backbone.py, RGBSingleHead with a linear head",
        ("encoder.",),
        marks=(r"^head\.0\.weight$",),
        sections=("model", "", "state_dict", "model_ema"),
        dropped=((r"^head\.", _FC), (r"^encoder\.fc\.", _FC)),
        also="MoCo v1 of PyContrast",
    ),
    Layout(
        "simclr",
        "sthalles/SimCLR: models/resnet_simclr.py",
        ("backbone.",),
        marks=(r"^backbone\.fc\.\d",),
        dropped=((r"^backbone\.fc\.", _FC),),
    ),
    Layout(
        "simclr",
        "sthalles/SimCLR: models/resnet_simclr.py, first version",
        ("features.",),
        marks=(r"^l1\.weight$", r"^l2\.weight$"),
        dropped=((r"^l[12]\.", _FC),),
    ),
    Layout(
        "simclr",
        "Spijkervet/SimCLR: simclr/simclr.py",
        ("encoder.",),
        marks=(r"^projector\.",),
        dropped=(_PROJECTOR, (r"^encoder\.fc\.", _CLASSIFIER)),
    ),
    Layout(
        "simclr",
        "AndrewAtanov/simclr-pytorch: models/encoder.py",
        ("convnet.", "model.convnet.", "model.module.convnet."),
        dropped=((r"^(model\.)?(module\.)?projection\.", _FC), (r"convnet\.fc\.", _CLASSIFIER)),
    ),
    Layout(
        "simclr_v2",
        "Separius/SimCLRv2-Pytorch: convert.py",
        ("",),
        marks=(r"^net\.0\.",),
        sections=("resnet",),
        dropped=((r"^fc\.", _CLASSIFIER),),
    ),
    Layout(
        "swav",
        "facebookresearch/swav: src/resnet50.py",
        ("",),
        marks=(r"^(projection_head|prototypes)\.",),
        dropped=(_PROJECTOR, (r"^prototypes\.", "prototypes"), (r"^fc\.", _CLASSIFIER)),
        also="DeepCluster-v2 and SeLa-v2 (the same repository)",
    ),
    Layout(
        "torchvision_vit",
        "torchvision: models/vision_transformer.py",
        ("", "backbone.", "encoder."),
        marks=(r"encoder\.layers\.encoder_layer_0\.self_attention\.in_proj_weight$",),
        dropped=((r"^(backbone\.|encoder\.)?heads\.", _CLASSIFIER),),
    ),
    Layout(
        "torchvision_hierarchical",
        "torchvision: models/swin_transformer.py, models/convnext.py",
        ("",),
        marks=(r"^features\.0\.0\.weight$", r"^features\.1\.0\.(attn\.qkv|block\.0)\.weight$"),
        dropped=((r"^(head|classifier\.2)\.", _CLASSIFIER),),
    ),
    Layout(
        "timm_vit",
        "timm: models/vision_transformer.py; facebookresearch/dino: vision_transformer.py",
        ("", "backbone."),
        marks=(r"blocks\.0\.attn\.qkv\.weight$", r"cls_token$"),
        dropped=((r"^(backbone\.)?(head|fc_norm|head_dist)\.", _CLASSIFIER),),
        also="DINO's and MoCo v3's backbones by themselves, DeiT",
    ),
    Layout(
        "cifar_resnet",
        "akamaster/pytorch_resnet_cifar10: resnet.py",
        ("",),
        marks=(r"^layer1\.0\.conv1\.weight$", r"^linear\.weight$"),
        dropped=((r"^linear\.", _CLASSIFIER),),
        also="kuangliu/pytorch-cifar",
    ),
    Layout(
        "torchvision",
        "torchvision: models/resnet.py",
        ("",),
        marks=(r"^conv1\.weight$", r"^bn1\.running_mean$", r"^layer1\.0\.conv1\.weight$"),
        dropped=((r"^fc\.", _CLASSIFIER),),
        also="timm's ResNets, Barlow Twins' and DINO's backbones by themselves, SimCLR by tonylins/simclr-converter",
    ),
    Layout(
        UNKNOWN,
        "no project's in particular: a backbone beside other things",
        ("backbone.", "encoder.", "net.", "model.", "resnet.", "trunk."),
        dropped=((r"^\w+\.(fc|head|heads|classifier|linear)\.", _CLASSIFIER), _PROJECTOR, _PREDICTOR),
    ),
    Layout(UNKNOWN, "no project's in particular: a network by itself", ("",), dropped=(_PLAIN_HEADS,)),
)
"""In the order in which they are tried: those with more marks before those that would take their files as well."""
