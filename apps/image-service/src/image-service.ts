import { Module } from '@nestjs/common';
import type { AppPorts } from '@omnivisor/eventsourcing';
import { createOpenStackApp, type EdgeLogger, type OpenStackApp, type TokenValidator } from '@omnivisor/openstack';
import type { Bus, Clock, Ids } from '@omnivisor/platform';
import { ImageContext, ImageCore, type ImageSettings } from './core.js';
import { mountByteRoute } from './image/byte-route.js';
import { imageProjections } from './image/image.projection.js';
import { ImageDataController } from './image/image-data.controller.js';
import { openImageDesk } from './image/image-desk.js';
import { ImageInfoController } from './image/image-info.controller.js';
import { ImageMembersController } from './image/image-members.controller.js';
import { ImagePartsController } from './image/image-parts.controller.js';
import { ImageSweeper } from './image/image-sweeper.js';
import { ImageUploads } from './image/image-uploads.js';
import { ImagesController } from './image/images.controller.js';
import type { ImageStore } from './store/index.js';

export interface ImageServiceParts {
  readonly ports: AppPorts<Clock, Bus, Ids>;
  readonly store: ImageStore;
  readonly settings: ImageSettings;
  readonly tokens: TokenValidator;
  readonly logger: EdgeLogger;
  readonly publicUrl?: string | undefined;
  readonly trustedProxies?: readonly string[];
}

export interface ImageService {
  readonly app: OpenStackApp;
  readonly core: ImageCore;
  readonly sweeper: ImageSweeper;
  stop(): Promise<void>;
}

@Module({})
class ImageModule {}

/** The image service on any ports: the same in one process of a spec and in production. */
export const startImageService = async (parts: ImageServiceParts): Promise<ImageService> => {
  const onError = (where: string, err: unknown) => parts.logger.error({ err }, where);
  const core = new ImageCore(parts.ports, imageProjections, onError);
  const context = new ImageContext(core, parts.store, parts.settings);
  const uploads = new ImageUploads(context);
  const app = await createOpenStackApp({
    module: {
      module: ImageModule,
      controllers: [
        ImagesController,
        ImageDataController,
        ImagePartsController,
        ImageMembersController,
        ImageInfoController,
      ],
      providers: [
        { provide: ImageContext, useValue: context },
        { provide: ImageUploads, useValue: uploads },
      ],
    },
    services: ['image'],
    tokens: () => parts.tokens,
    logger: parts.logger,
    publicUrl: parts.publicUrl,
    trustedProxies: parts.trustedProxies ?? [],
    lookingBack: (moment, read) => core.lookingBack(moment, read),
    extend: (fastify) => mountByteRoute(fastify, context),
  });
  await core.start();
  const desk = await openImageDesk(context);
  const sweeper = new ImageSweeper(context, uploads, onError);
  sweeper.start();
  return {
    app,
    core,
    sweeper,
    stop: async () => {
      for (const subscription of desk) await subscription.close();
      await app.close();
      await sweeper.stop();
      await core.stop();
    },
  };
};
