# Ablation of sgcl_r50_coco.py: saliency draws the crops, but all pairs count alike.
_base_ = ['../sgcl_r50_coco.py']

model = dict(weigh=False)
