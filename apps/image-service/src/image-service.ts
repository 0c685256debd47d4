import { Module } from '@nestjs/common';
import type { AppPorts } from '@omnivisor/eventsourcing';
import {
  createOpenStackApp,
  type EdgeLogger,
  type OpenStackApp,
  RequestLimiter,
  type RequestLimits,
  type TokenValidator,
} from '@omnivisor/openstack';
import type { Bus, Clock, Ids } from '@omnivisor/platform';
import { ImageContext, ImageCore, type ImageSettings } from './core.js';
import type { Resolve } from './download/guarded-fetch.js';
import { FormCollector } from './forms/form-collector.js';
import { FormMaker } from './forms/form-maker.js';
import { FormRoom } from './forms/form-room.js';
import { ImageForms } from './forms/image-forms.js';
import { GuestDisks } from './guest/guest-disks.js';
import { GuestInspections } from './guest/guest-inspections.js';
import { mountByteRoute } from './image/byte-route.js';
import { mountUploadRoute } from './image/host-uploads.js';
import { imageProjections } from './image/image.projection.js';
import { ImageDataController } from './image/image-data.controller.js';
import { openImageDesk } from './image/image-desk.js';
import { ImageFormsController } from './image/image-forms.controller.js';
import { ImageImportsController } from './image/image-imports.controller.js';
import { ImageImports } from './image/image-imports.js';
import { ImageInfoController } from './image/image-info.controller.js';
import { ImageMembersController } from './image/image-members.controller.js';
import { ImagePartsController } from './image/image-parts.controller.js';
import { ImageSweeper } from './image/image-sweeper.js';
import { ImageUploads } from './image/image-uploads.js';
import { ImagesController } from './image/images.controller.js';
import { ImageInjections } from './injection/image-injections.js';
import type { Sandbox } from './sandbox/sandbox.js';
import type { ImageStore } from './store/index.js';

export interface ImageServiceParts {
  readonly ports: AppPorts<Clock, Bus, Ids>;
  readonly store: ImageStore;
  readonly settings: ImageSettings;
  readonly tokens: TokenValidator;
  readonly logger: EdgeLogger;
  /** Where tools run that read images; without it none is converted or looked into. */
  readonly sandbox: Sandbox | null;
  /** The program that looks into disks; the one beside this service when not given. */
  readonly look?: { readonly program: string };
  /** Name server of imports; the system's when not given. */
  readonly resolve?: Resolve;
  /** How often a minute for one project; without limits when not given. */
  readonly limits?: RequestLimits;
  readonly publicUrl?: string | undefined;
  readonly trustedProxies?: readonly string[];
}

export interface ImageService {
  readonly app: OpenStackApp;
  readonly core: ImageCore;
  readonly sweeper: ImageSweeper;
  readonly forms: ImageForms;
  readonly guests: GuestInspections | null;
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
  const imports = new ImageImports(context, uploads, parts.settings.imports, onError, parts.resolve);
  const disks = parts.sandbox && new GuestDisks(context, parts.sandbox, parts.look?.program);
  const room = new FormRoom(context);
  const converter = parts.sandbox?.has('qemu-img') ? parts.sandbox : null;
  const forms = new ImageForms(context, new FormMaker(parts.store, converter, disks), room, onError);
  const guests = disks && new GuestInspections(context, disks, onError);
  const injections = new ImageInjections(context, uploads, parts.sandbox, disks, onError);
  const app = await createOpenStackApp({
    module: {
      module: ImageModule,
      controllers: [
        ImagesController,
        ImageDataController,
        ImagePartsController,
        ImageMembersController,
        ImageInfoController,
        ImageFormsController,
        ImageImportsController,
      ],
      providers: [
        { provide: ImageContext, useValue: context },
        { provide: ImageUploads, useValue: uploads },
        { provide: ImageImports, useValue: imports },
        { provide: ImageInjections, useValue: injections },
        { provide: ImageForms, useValue: forms },
      ],
    },
    services: ['image'],
    tokens: () => parts.tokens,
    logger: parts.logger,
    publicUrl: parts.publicUrl,
    trustedProxies: parts.trustedProxies ?? [],
    // Sources are the gateway's to count: here all requests come from it.
    limiter: new RequestLimiter(parts.limits, false),
    lookingBack: (moment, read) => core.lookingBack(moment, read),
    extend: (fastify) => {
      mountByteRoute(fastify, context, forms);
      mountUploadRoute(fastify, context, uploads);
    },
  });
  guests?.watch();
  forms.watch();
  await core.start();
  const desk = await openImageDesk(context, forms, guests);
  const sweeper = new ImageSweeper(context, uploads, new FormCollector(context, forms, room), onError);
  sweeper.start();
  guests?.start();
  return {
    app,
    core,
    sweeper,
    forms,
    guests,
    stop: async () => {
      for (const subscription of desk) await subscription.close();
      await app.close();
      await imports.stop();
      await injections.stop();
      await forms.stop();
      await guests?.stop();
      await sweeper.stop();
      await core.stop();
    },
  };
};
