default_scope = 'mmsscl'

default_hooks = dict(
    runtime_info=dict(type='DeferredRuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='SafeCheckpointHook', interval=10, max_keep_ckpts=3),
    preemption=dict(type='PreemptionHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    non_finite=dict(type='NonFiniteHook', patience=3),
    bad_photos=dict(type='BadPhotosHook', max_ratio=0.01),
    collapse_monitor=dict(type='CollapseMonitorHook'),
    # nothing until given labelled folders: default_hooks.online_probe.train=FOLDER default_hooks.online_probe.val=FOLDER
    online_probe=dict(type='OnlineProbeHook', train=None, val=None, interval=10),
    # weights named by model.backbone.init_cfg must fill the backbone; without any, it starts at random
    backbone_weights=dict(
        type='BackboneWeightsHook',
        allow_random=True,
        allow_missing=['num_batches_tracked$'],
        allow_unexpected=[r'^fc\.']))

# fixed input shapes: let cuDNN time its kernels once; workers must not fight over OpenCV's threads
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))

# add dict(type='TensorboardVisBackend') to see the curves in TensorBoard
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
log_processor = dict(window_size=50)
randomness = dict(seed=0)
log_level = 'INFO'
load_from = None
resume = False
